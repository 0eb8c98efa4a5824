"""How well a similarity map separates an object from the rest of its picture."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cascade_clip.analysis.localization.boundary import boundary_f, tolerance_pixels
from cascade_clip.ops.bilinear import BilinearResize

LEVELS = 1024
"""Steps between the lowest and the highest similarity of a map, at which it is cut."""

MEASURES = ("average precision", "best IoU", "boundary F")


class MapScores(NamedTuple):
    """Of O maps, each (O,) in [0, 1]."""

    average_precision: Tensor
    """Area under precision over recall when the map is cut ever lower (steps, not interpolated)."""
    iou: Tensor
    """Highest IoU of the map cut at any one value: what it could give if one knew where to cut."""
    boundary_f: Tensor
    """Boundary F-score of the map cut there."""


def score_maps(maps: Tensor, masks: Tensor, counted: Tensor) -> MapScores:
    """Scores of similarity maps (O, h, w) on the patch grid, upsampled bilinearly to the picture.

    `masks` and `counted` (O, H, W) bool are the object and the labelled pixels; every mask has
    pixels. Similarities are quantised to `LEVELS` steps between the lowest and highest of a map.
    """
    levels = _quantised(_upsampled(maps, masks), counted)  # (O, H, W)
    hits, misses = _reached(levels, masks, counted)
    taken = hits + misses
    total = hits[:, :1]
    precision = hits / taken.clamp(min=1)
    steps = torch.diff(hits, dim=1, append=torch.zeros_like(total)).neg()  # newly found there
    iou = hits / (taken + total - hits)
    best, cut = iou.max(dim=1)
    predicted = (levels >= cut[:, None, None]) & counted
    tolerance = tolerance_pixels(masks.shape[1], masks.shape[2])
    return MapScores(
        average_precision=(precision * steps).sum(dim=1) / total[:, 0],
        iou=best,
        boundary_f=boundary_f(predicted, masks, counted, tolerance),
    )


def _upsampled(maps: Tensor, masks: Tensor) -> Tensor:
    grid, size = (maps.shape[1], maps.shape[2]), (masks.shape[1], masks.shape[2])
    return BilinearResize.between(grid, size, dtype=maps.dtype, device=maps.device)(maps)


def _quantised(maps: Tensor, counted: Tensor) -> Tensor:
    """Maps (O, H, W) as whole steps 0..LEVELS - 1 between their extremes where they count."""
    low = maps.masked_fill(~counted, torch.inf).amin(dim=(1, 2), keepdim=True)
    high = maps.masked_fill(~counted, -torch.inf).amax(dim=(1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp(min=1e-12)
    return scaled.mul_(LEVELS).to(torch.int32).clamp_(0, LEVELS - 1)


def _reached(levels: Tensor, masks: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels of the object, and labelled pixels beside it, at or above each level: two times
    (O, LEVELS) float64."""
    bins = 2 * LEVELS + 1  # the last one takes pixels that don't count
    place = torch.where(masks, levels, levels + LEVELS).masked_fill_(~counted, bins - 1)
    place += (
        torch.arange(len(levels), dtype=levels.dtype, device=levels.device)[:, None, None] * bins
    )
    histogram = torch.bincount(place.flatten(), minlength=len(levels) * bins).view(-1, bins)
    both = histogram[:, :-1].view(-1, 2, LEVELS).flip(2).cumsum(2).flip(2).double()
    return both[:, 0], both[:, 1]
