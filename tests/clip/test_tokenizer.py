"""Our tokenizer gives the ids of open_clip's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer

from cascade_clip.clip.load import VOCABULARY_FILE, embedded_folder
from cascade_clip.clip.tokenizer import Tokenizer, clip_vocabulary

TEXTS = [
    "",
    "a photo of a Border Collie.",
    "they've 42 x²½ Ⅷ it's",
    "Ünïcödé  Straße İstanbul ﬁsh ＦＵＬＬ 日本語 テスト 👨‍👩‍👧",
    "<start_of_text> hi <END_OF_TEXT>",
    "&amp;amp; â€œquoteâ€ a\x00b\ttab\nline",
    "x" * 300,
    "grass " * 80,
]


@pytest.mark.parametrize("embedded", [None, "picturebook"])
def test_equals_open_clip(embedded: str | None) -> None:
    path = embedded_folder(embedded) / VOCABULARY_FILE if embedded else clip_vocabulary()
    ours, theirs = Tokenizer(path, 40), SimpleTokenizer(str(path), context_length=40)
    assert ours.vocab_size == theirs.vocab_size
    assert torch.equal(ours(TEXTS), theirs(TEXTS))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_equals_open_clip_on_any_text(text: str) -> None:
    assert OURS.encode(text) == THEIRS.encode(text)


EMBEDDED: Path = embedded_folder("picturebook") / VOCABULARY_FILE
OURS, THEIRS = Tokenizer(EMBEDDED), SimpleTokenizer(str(EMBEDDED))
