from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cascade_clip.clip.load import FrozenClip, load_clip_folder
from cascade_clip.clip.templates import SCENE_TEMPLATES, SINGLE_TEMPLATE
from cascade_clip.clip.text import TextEncoder, mean_prompt
from cascade_clip.errors import UserError


@pytest.fixture
def clip(tiny_clip_folder: Path) -> FrozenClip:
    return load_clip_folder(tiny_clip_folder, "tiny")


def test_fifteen_templates_are_the_renormalised_mean_of_normalised_embeddings(
    clip: FrozenClip,
) -> None:
    texts = [template.format("cat") for template in SCENE_TEMPLATES]
    expected = F.normalize(
        F.normalize(clip.text_encoder.encode_texts(texts), dim=-1).mean(0), dim=-1
    )
    assert len(SCENE_TEMPLATES) == 15
    assert torch.allclose(clip.text_encoder(["cat"], SCENE_TEMPLATES)[0], expected, atol=1e-6)


def test_rows_follow_the_names_whatever_was_encoded_before(clip: FrozenClip) -> None:
    first = clip.text_encoder(["cat", "grass"])
    second = clip.text_encoder(["grass", "house", "cat", "grass"])
    assert torch.equal(second[[2, 0]], first)
    assert torch.equal(second[0], second[3])


def test_only_new_names_reach_the_text_encoder(clip: FrozenClip) -> None:
    clip.text_encoder(["cat", "grass"])
    clip.text_encoder.model = None  # any further encoding fails
    assert clip.text_encoder(["grass", "cat"]).shape == (2, 32)
    with pytest.raises(AttributeError):
        clip.text_encoder(["house"])


def test_templates_are_part_of_the_cache_key(clip: FrozenClip) -> None:
    single = clip.text_encoder(["cat"], SINGLE_TEMPLATE)
    many = clip.text_encoder(["cat"], SCENE_TEMPLATES)
    assert not torch.allclose(single, many)


def test_templates_can_be_kept_apart(clip: FrozenClip) -> None:
    names = ["cat", "grass"]
    mean = clip.text_encoder(names, SCENE_TEMPLATES)
    apart = clip.text_encoder(names, SCENE_TEMPLATES, average=False)
    assert apart.shape == (2, 15, 32)
    for k, template in enumerate(SCENE_TEMPLATES):
        assert torch.allclose(apart[:, k], clip.text_encoder(names, (template,)), atol=1e-6)
    assert torch.allclose(mean_prompt(apart), mean, atol=1e-6)
    assert torch.equal(mean_prompt(mean), mean)


@pytest.mark.parametrize("name", ["", "   ", "\n\t"])
def test_names_without_a_word_are_refused(clip: FrozenClip, name: str) -> None:
    with pytest.raises(UserError, match="holds no word"):
        clip.text_encoder(["cat", name])


def test_long_names_are_refused_rather_than_cut(clip: FrozenClip) -> None:
    with pytest.raises(UserError, match=r"too long.*24 tokens"):
        clip.text_encoder(["very " * 2000 + "long"])


@pytest.mark.parametrize("name", ["고양이", "🐱", "{}", "{name}", "Schrödinger's cat"])
def test_any_script_and_braces_are_just_names(clip: FrozenClip, name: str) -> None:
    embedding = clip.text_encoder([name])
    assert torch.allclose(embedding.norm(dim=-1), torch.ones(1))


def test_no_names_is_an_error(clip: FrozenClip) -> None:
    with pytest.raises(UserError, match="no class names"):
        clip.text_encoder([])


def test_the_least_recently_used_names_are_forgotten(clip: FrozenClip) -> None:
    encoder = TextEncoder(clip.model, clip.tokenize, remembered=2)
    asked: list[str] = []
    encode = encoder.encode_texts
    encoder.encode_texts = lambda texts: asked.extend(texts) or encode(texts)  # type: ignore[method-assign, func-returns-value]
    all_at_once = encoder(["cat", "grass", "house"], ["{}"])
    assert torch.equal(encoder(["grass"], ["{}"])[0], all_at_once[1])
    encoder(["cat"], ["{}"])
    assert asked == ["cat", "grass", "house", "cat"]
