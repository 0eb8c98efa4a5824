"""Arg-max over classes that arrive a few at a time."""

from __future__ import annotations

import torch
from torch import Tensor


class RunningArgmax:
    """Keeps, per pixel, the best score so far and the class it belongs to.

    Memory is two maps, whatever the number of classes. Of equal scores the first class wins.
    """

    def __init__(self, size: tuple[int, int], *, dtype: torch.dtype, device: torch.device) -> None:
        self.scores = torch.full(size, -torch.inf, dtype=dtype, device=device)  # (H, W)
        self.labels = torch.zeros(size, dtype=torch.int64, device=device)  # (H, W)

    def update(self, scores: Tensor, first: int) -> None:
        """Take in scores (k, H, W) of the classes `first` to `first + k - 1`."""
        best, index = (scores[0], None) if len(scores) == 1 else scores.max(dim=0)
        better = best > self.scores
        torch.maximum(self.scores, best, out=self.scores)
        if index is None:
            self.labels.masked_fill_(better, first)
        else:
            torch.where(better, index.add_(first), self.labels, out=self.labels)
