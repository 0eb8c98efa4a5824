"""Texts that share beginnings are encoded as open_clip encodes each of them."""

from __future__ import annotations

from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_clip.clip.build import build_clip
from cascade_clip.clip.load import load_clip_folder
from cascade_clip.clip.prefix_tree import PrefixTree, encode_tokens, reads_causally
from cascade_clip.clip.templates import IMAGENET_TEMPLATES

END, LENGTH = 31, 9
TEXT = {"context_length": LENGTH, "vocab_size": END + 1, "width": 16, "heads": 2, "layers": 2}
VISION = {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
CLIP = build_clip(8, VISION, TEXT, quick_gelu=True).eval()
for weight in CLIP.parameters():
    torch.nn.init.normal_(weight, std=0.3)

texts = st.lists(st.lists(st.integers(1, 4), max_size=LENGTH - 1), min_size=1, max_size=20)


def as_tokens(found: list[list[int]]) -> torch.Tensor:
    rows = [[*text, END, *[0] * (LENGTH - 1 - len(text))] for text in found]
    return torch.tensor(rows)


@settings(max_examples=40, deadline=None)
@given(texts)
def test_equals_open_clip(found: list[list[int]]) -> None:
    tokens = as_tokens(found)
    with torch.no_grad():
        expected = CLIP.encode_text(tokens)
    torch.testing.assert_close(encode_tokens(CLIP, tokens), expected, atol=2e-6, rtol=1e-5)


def test_a_beginning_is_a_node_once_and_nothing_lies_behind_the_end() -> None:
    tree = PrefixTree.of(as_tokens([[1, 2, 3], [1, 2, 4], [1, 2, 3]]))
    assert tree.tokens == [1, 2, 3, END, 4, END]
    assert tree.ends == [3, 5, 3]
    assert tree.paths()[5].tolist() == [0, 1, 4, 5]


def test_the_embedded_clip_reads_causally(tiny_clip_folder: Path) -> None:
    assert reads_causally(load_clip_folder(tiny_clip_folder, "tiny").model)


def test_imagenet_templates() -> None:
    assert len(IMAGENET_TEMPLATES) == 80
    assert IMAGENET_TEMPLATES[0] == "a bad photo of a {}."
