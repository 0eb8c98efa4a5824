"""Boundary F-score: how well the outline of a mask follows the outline of the truth."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TOLERANCE = 0.0075
"""As a share of the picture's diagonal (Csurka et al., BMVC 2013, section 2.2)."""


def tolerance_pixels(height: int, width: int, share: float = TOLERANCE) -> int:
    """How far apart two outlines may lie and still count as one: at least a pixel."""
    return max(1, math.ceil(share * math.hypot(height, width)))


def boundary_f(predicted: Tensor, truth: Tensor, counted: Tensor, tolerance: int) -> Tensor:
    """Boundary F-score (Csurka et al., BMVC 2013) of K masks: (K,) in [0, 1].

    An outline is the pixels of a mask with a neighbour (left, right, above, below) outside of it;
    the picture's border is none. Precision is the share of the predicted outline within `tolerance`
    pixels (the larger of the two distances along the axes) of the true one, recall the reverse, and
    F their harmonic mean: 0 where only one of the masks has an outline, 1 where neither has.

    Args:
        predicted, truth: (K, H, W) bool.
        counted: (K, H, W) bool; outlines elsewhere (unlabelled pixels) are left out.
    """
    found = outline(predicted) & counted
    true = outline(truth) & counted
    precision = _share_near(found, true, tolerance)
    recall = _share_near(true, found, tolerance)
    score = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    empty = ~found.flatten(1).any(dim=1) & ~true.flatten(1).any(dim=1)
    return score.masked_fill(empty, 1.0)


def outline(masks: Tensor) -> Tensor:
    """Pixels of masks (K, H, W) with a direct neighbour outside the mask, inside the picture."""
    edge = torch.zeros_like(masks)
    down, across = masks[:, 1:] != masks[:, :-1], masks[:, :, 1:] != masks[:, :, :-1]
    edge[:, 1:] |= down
    edge[:, :-1] |= down
    edge[:, :, 1:] |= across
    edge[:, :, :-1] |= across
    return edge & masks


def _share_near(points: Tensor, others: Tensor, tolerance: int) -> Tensor:
    """Share of the points (K, H, W) with one of the others nearby: (K,), 0 without points."""
    near = _spread(_spread(others, tolerance, dim=1), tolerance, dim=2)
    count = points.flatten(1).sum(dim=1)
    return (points & near).flatten(1).sum(dim=1) / count.clamp(min=1)


def _spread(points: Tensor, distance: int, dim: int) -> Tensor:
    """The points (K, H, W) and all pixels up to `distance` before and after them along an axis."""
    spread = points.clone()
    length = points.shape[dim]
    for shift in range(1, min(distance, length - 1) + 1):
        start, end = (points.narrow(dim, first, length - shift) for first in (0, shift))
        spread.narrow(dim, shift, length - shift).logical_or_(start)
        spread.narrow(dim, 0, length - shift).logical_or_(end)
    return spread
