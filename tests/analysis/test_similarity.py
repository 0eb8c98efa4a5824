"""How similarity maps are judged: hand-made maps, and naive twins."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cascade_clip.analysis.localization.boundary import boundary_f, outline, tolerance_pixels
from cascade_clip.analysis.localization.similarity import LEVELS, score_maps
from tests.naive import analysis as naive


def square(size: int, top: int, left: int, side: int) -> Tensor:
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


def blobs(seed: int, size: int = 14) -> Tensor:
    """Four random masks with outlines of all shapes."""
    noise = torch.rand(4, 1, size, size, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(noise, 3, 1, 1)[:, 0] > 0.5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tolerance", [1, 3])
def test_boundary_f_agrees_with_single_pixels(seed: int, tolerance: int) -> None:
    predicted, truth = blobs(seed), blobs(seed + 10)
    counted = torch.ones_like(truth)
    expected = [naive.boundary_f(p, t, tolerance) for p, t in zip(predicted, truth, strict=True)]
    found = boundary_f(predicted, truth, counted, tolerance).tolist()
    assert found == pytest.approx(expected)


def test_boundary_f_of_shifted_squares() -> None:
    truth = square(40, 10, 10, 12)[None]
    counted = torch.ones_like(truth)
    for shift, expected in ((0, 1.0), (2, 1.0), (9, 0.0)):
        moved = square(40, 10 + shift, 10 + shift, 12)[None]
        score = boundary_f(moved, truth, counted, tolerance=2).item()
        assert score == pytest.approx(expected) if expected else score < 0.3


def test_boundary_f_without_outlines() -> None:
    nothing, something = torch.zeros(1, 8, 8, dtype=torch.bool), square(8, 2, 2, 3)[None]
    counted = torch.ones_like(nothing)
    assert boundary_f(nothing, nothing, counted, 1).item() == 1.0
    assert boundary_f(~nothing, nothing, counted, 1).item() == 1.0  # the border is no outline
    assert boundary_f(something, nothing, counted, 1).item() == 0.0


def test_outlines_in_unlabelled_pixels_are_left_out() -> None:
    truth = square(20, 5, 5, 8)[None]
    wrong = truth | square(20, 5, 14, 4)[None]
    counted = torch.ones_like(truth)
    assert boundary_f(wrong, truth, counted, 1).item() < 1
    counted[:, :, 13:] = False
    assert boundary_f(wrong, truth, counted, 1).item() == 1.0


def test_outline_of_a_square() -> None:
    assert outline(square(9, 2, 2, 5)[None]).sum() == 16


def test_tolerance() -> None:
    assert tolerance_pixels(512, 512) == 6
    assert tolerance_pixels(16, 16) == 1


@pytest.mark.parametrize("seed", range(3))
def test_maps_agree_with_single_thresholds(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Whole steps, and both extremes, so that no two values fall into one level by rounding.
    steps = torch.randint(0, LEVELS, (3, 12, 12), generator=generator)
    steps[:, 0, 0], steps[:, 0, 1] = 0, LEVELS
    maps = 0.3 * (steps / LEVELS) - 0.7
    masks = torch.rand(3, 12, 12, generator=generator) > 0.7
    counted = torch.rand(3, 12, 12, generator=generator) > 0.1
    counted[:, 0, :2] = True
    masks &= counted
    found = score_maps(maps.float(), masks, counted)
    for i in range(3):
        scores = steps[i].clamp(max=LEVELS - 1)[counted[i]].tolist()
        positive = masks[i][counted[i]].tolist()
        precision = naive.average_precision(scores, positive)
        assert found.average_precision[i].item() == pytest.approx(precision, abs=2e-3)
        assert found.iou[i].item() == pytest.approx(naive.best_iou(scores, positive), abs=2e-3)


def test_a_perfect_map() -> None:
    masks = torch.stack([square(32, 8, 8, 16), square(32, 0, 16, 8)])
    found = score_maps(masks.float(), masks, torch.ones_like(masks))
    for values in found:
        torch.testing.assert_close(values.double(), torch.ones(2, dtype=torch.float64))


def test_a_map_that_knows_nothing() -> None:
    masks = square(32, 8, 8, 16)[None]
    found = score_maps(torch.full((1, 4, 4), 0.5), masks, torch.ones_like(masks))
    share = 16 * 16 / 32**2
    assert found.average_precision.item() == pytest.approx(share)
    assert found.iou.item() == pytest.approx(share)


def test_a_reversed_map_is_worse_than_chance() -> None:
    masks = square(32, 8, 8, 16)[None]
    found = score_maps(-masks.float(), masks, torch.ones_like(masks))
    assert found.average_precision.item() == pytest.approx(0.25)  # found only with everything else
    partly = masks.float() * torch.linspace(-1, 0.5, 32)
    assert score_maps(partly, masks, torch.ones_like(masks)).average_precision.item() < 0.8


def test_patch_maps_are_upsampled() -> None:
    masks = square(32, 8, 8, 16)[None]
    patches = torch.nn.functional.avg_pool2d(masks[:, None].float(), 8)[:, 0]  # (1, 4, 4)
    found = score_maps(patches, masks, torch.ones_like(masks))
    assert 0.75 < found.iou.item() < 1
    assert found.average_precision.item() > 0.95
