"""What every training-free method promises: the kinds are those of the union of settings, so a new
one is found by itself. Its naive twin is in `benchmarks/reference/training_free.py`."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from benchmarks.reference import training_free as plain
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.checkpoint.training_free import read_method
from cascade_clip.clip.build import build_clip
from cascade_clip.config.training_free import training_free_kinds
from cascade_clip.errors import UserError
from cascade_clip.model.training_free.network import TrainingFreeNetwork
from cascade_clip.model.training_free.trunk import FrozenTrunk

KINDS = sorted(training_free_kinds())
WIDTH, PATCH = 16, 8
GRIDS = ((4, 4), (3, 5), (1, 7), (6, 1), (1, 1), (9, 7))


@cache
def visual_of(depth: int) -> Any:
    torch.manual_seed(depth)
    vision = {"image_size": 32, "layers": depth, "width": 32, "head_width": 8, "patch_size": PATCH}
    text = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}
    visual = build_clip(WIDTH, vision, text, quick_gelu=True).visual.eval()
    for weight in visual.parameters():
        torch.nn.init.normal_(weight, mean=float(weight.ndim == 1), std=0.3)
    return visual


def network_of(kind: str, depth: int = 12, **settings: Any) -> TrainingFreeNetwork:
    method = read_method({"kind": kind, **settings})
    return TrainingFreeNetwork(visual_of(depth), method).eval()


def draw_images(batch: int, grid: tuple[int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, 3, grid[0] * PATCH, grid[1] * PATCH, generator=generator)


def draw_text(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return F.normalize(torch.randn(*shape, WIDTH, generator=generator), dim=-1)


@pytest.mark.parametrize("depth", [3, 12, 13])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_equals_its_plain_form_on_every_grid(kind: str, depth: int) -> None:
    network = network_of(kind, depth)
    for grid in GRIDS:
        images = draw_images(2, grid)
        features, found = network.features(images)
        assert found == grid
        settings = network.settings
        expected = [plain.features(visual_of(depth), settings, images[i : i + 1]) for i in (0, 1)]
        torch.testing.assert_close(features, torch.stack(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_logits_are_cosines_of_each_class_alone(kind: str) -> None:
    network, images, text = network_of(kind), draw_images(2, (3, 5)), draw_text(6)
    logits = network(images, text).mask_logits
    assert logits.shape == (2, 6, 3, 5)
    assert logits.abs().max() <= 1 + 1e-6
    order = torch.tensor([3, 0, 5, 1])
    torch.testing.assert_close(network(images, text[order]).mask_logits, logits[:, order])
    features, _ = network.features(images)
    torch.testing.assert_close(logits.flatten(2), text @ features.mT)


@torch.no_grad()
def test_of_several_names_the_best_one_counts() -> None:
    network, images, text = network_of("sc-clip"), draw_images(1, (4, 4)), draw_text(3, 2)
    by_name = network(images, text.flatten(0, 1)).mask_logits.unflatten(1, (3, 2))
    torch.testing.assert_close(network(images, text).mask_logits, by_name.amax(dim=2))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_blank_picture_gives_finite_cosines(kind: str) -> None:
    logits = network_of(kind)(torch.zeros(1, 3, 48, 32), draw_text(2)).mask_logits
    assert bool(torch.isfinite(logits).all())


def test_blocks_of_12_stand_for_those_of_other_depths() -> None:
    def scaled(depth: int) -> list[int]:
        trunk = FrozenTrunk(visual_of(depth), "bicubic")
        return [trunk.scaled(block) for block in (4, 6, 9, 10)]

    assert scaled(12) == scaled(13) == [4, 6, 9, 10]
    assert scaled(24) == [8, 12, 18, 20]
    assert scaled(2) == [1, 1, 1, 1]


def test_the_trunk_is_frozen_and_runs_no_block_too_many() -> None:
    trunk = FrozenTrunk(visual_of(12), "bilinear")
    assert not any(weight.requires_grad for weight in trunk.parameters())
    after, _ = trunk(draw_images(1, (2, 2)), {0, 5})
    assert sorted(after) == [0, 5]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("scclip", r"expected one of .*, got 'scclip'; did you mean 'sc-clip'\?"),
        ({"kind": "sc-clip", "similarity_block": 12}, "at most 11, got 12"),
        ({"kind": "sc-clip", "fusion_blocks": [4, 30]}, "at most 11, got 30"),
        ({"kind": "naclip", "gaussian_sigma": 0}, "at least 0.01, got 0"),
        ({"kind": "clip", "sigma": 1}, "sigma"),
        (3, "training_free"),
    ],
)
def test_wrong_settings_are_told_in_a_line(method: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read_method(method)
    assert "\n" not in str(error.value)


def test_wrong_inputs_are_told() -> None:
    network = network_of("sc-clip")
    with pytest.raises(UserError, match="multiple of the patch size 8"):
        network(torch.zeros(1, 3, 33, 32), draw_text(2))
    with pytest.raises(UserError, match=r"must be \(classes, 16\)"):
        network(torch.zeros(1, 3, 32, 32), torch.zeros(2, 5))
    with pytest.raises(UserError, match="VisionTransformer"):
        TrainingFreeNetwork(torch.nn.Identity(), read_method("clip"))
