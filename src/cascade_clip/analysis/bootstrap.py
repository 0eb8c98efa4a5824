"""Spread of means over pictures, by drawing pictures anew with replacement."""

from __future__ import annotations

import torch
from torch import Tensor

RESAMPLES = 2000
MIN_DRAWN = 4
"""Fewest pictures (or batches) whose spread is reported."""


def draw_pictures(count: int, resamples: int = RESAMPLES) -> Tensor:
    """How often each of `count` pictures is drawn in each resample: (resamples, count) float64,
    always the same draws, so that whatever is computed from them can be compared pair by pair. All
    NaN for fewer than `MIN_DRAWN` pictures, which makes every interval NaN."""
    if count < MIN_DRAWN:
        return torch.full((resamples, count), torch.nan, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(count, (resamples, count), generator=generator)
    ones = torch.ones(drawn.shape, dtype=torch.float64)
    return torch.zeros(resamples, count, dtype=torch.float64).scatter_add_(1, drawn, ones)


def resampled_means(values: Tensor, pictures: Tensor, resamples: int = RESAMPLES) -> Tensor:
    """Means over n values that lie in pictures, drawn by whole pictures.

    Args:
        values: (n, ...), of which the first axis is averaged.
        pictures: (n,) number of the picture each value comes from.

    Returns:
        (resamples, ...) float64.
    """
    names, place = pictures.unique(return_inverse=True)
    flat = values.double().reshape(len(values), -1)  # (n, K)
    sums = torch.zeros(len(names), flat.shape[1], dtype=torch.float64).index_add_(0, place, flat)
    counts = torch.bincount(place, minlength=len(names)).double()
    weights = draw_pictures(len(names), resamples)
    means = (weights @ sums) / (weights @ counts)[:, None]  # (resamples, K)
    return means.reshape(resamples, *values.shape[1:])


def interval(resampled: Tensor) -> Tensor:
    """The middle 95 % of resampled numbers (resamples, ...): (2, ...)."""
    return resampled.quantile(torch.tensor([0.025, 0.975], dtype=resampled.dtype), dim=0)
