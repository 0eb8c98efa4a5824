"""Arg-max over classes that arrive a few at a time."""

from __future__ import annotations

import copy

import torch
from torch import Tensor


class RunningArgmax:
    """Keeps, per pixel, the best score so far and the class it belongs to.

    Memory is two maps, whatever the number of classes. Of equal scores the first class wins.
    """

    def __init__(self, size: tuple[int, int], *, dtype: torch.dtype, device: torch.device) -> None:
        self.scores = torch.full(size, -torch.inf, dtype=dtype, device=device)  # (H, W)
        self.labels = torch.zeros(size, dtype=torch.int64, device=device)  # (H, W)

    def part(self, rows: slice, columns: slice) -> RunningArgmax:
        """A rectangle of it: what the part takes in, the whole has taken in."""
        part = copy.copy(self)
        part.scores, part.labels = self.scores[rows, columns], self.labels[rows, columns]
        return part

    def update(self, scores: Tensor, classes: int | Tensor) -> None:
        """Take in scores (k, H, W) of k classes: their ascending indices (k,), or the first of
        indices that follow each other."""
        best, index = (scores[0], None) if len(scores) == 1 else scores.max(dim=0)
        better = best > self.scores
        torch.maximum(self.scores, best, out=self.scores)
        if index is None:
            self.labels.masked_fill_(better, int(classes))
        else:
            label = classes + index if isinstance(classes, int) else classes[index]
            torch.where(better, label, self.labels, out=self.labels)
