from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cascade_clip.clip.load import FrozenClip, load_clip_folder
from cascade_clip.clip.text import SCENE_TEMPLATES, SINGLE_TEMPLATE, encode_classes
from cascade_clip.errors import UserError


@pytest.fixture
def clip(tiny_clip_folder: Path) -> FrozenClip:
    return load_clip_folder(tiny_clip_folder, "tiny")


def test_fifteen_templates_are_the_renormalised_mean_of_normalised_embeddings(
    clip: FrozenClip,
) -> None:
    texts = [template.format("cat") for template in SCENE_TEMPLATES]
    expected = F.normalize(F.normalize(clip.encode_text(texts), dim=-1).mean(0), dim=-1)
    assert len(SCENE_TEMPLATES) == 15
    assert torch.allclose(encode_classes(clip, ["cat"], SCENE_TEMPLATES)[0], expected, atol=1e-6)


def test_rows_follow_the_names_whatever_was_encoded_before(clip: FrozenClip) -> None:
    first = encode_classes(clip, ["cat", "grass"])
    second = encode_classes(clip, ["grass", "house", "cat", "grass"])
    assert torch.equal(second[[2, 0]], first)
    assert torch.equal(second[0], second[3])


def test_only_new_names_reach_the_text_encoder(clip: FrozenClip) -> None:
    encode_classes(clip, ["cat", "grass"])
    clip.model = None  # any further encoding fails
    assert encode_classes(clip, ["grass", "cat"]).shape == (2, 32)
    with pytest.raises(AttributeError):
        encode_classes(clip, ["house"])


def test_templates_are_part_of_the_cache_key(clip: FrozenClip) -> None:
    single = encode_classes(clip, ["cat"], SINGLE_TEMPLATE)
    many = encode_classes(clip, ["cat"], SCENE_TEMPLATES)
    assert not torch.allclose(single, many)


@pytest.mark.parametrize("name", ["", "   ", "\n\t"])
def test_names_without_a_word_are_refused(clip: FrozenClip, name: str) -> None:
    with pytest.raises(UserError, match="holds no word"):
        encode_classes(clip, ["cat", name])


def test_long_names_are_refused_rather_than_cut(clip: FrozenClip) -> None:
    with pytest.raises(UserError, match=r"too long.*24 tokens"):
        encode_classes(clip, ["very " * 2000 + "long"])


@pytest.mark.parametrize("name", ["고양이", "🐱", "{}", "{name}", "Schrödinger's cat"])
def test_any_script_and_braces_are_just_names(clip: FrozenClip, name: str) -> None:
    embedding = encode_classes(clip, [name])
    assert torch.allclose(embedding.norm(dim=-1), torch.ones(1))


def test_no_names_is_an_error(clip: FrozenClip) -> None:
    with pytest.raises(UserError, match="no class names"):
        encode_classes(clip, [])
