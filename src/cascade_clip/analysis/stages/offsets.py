"""Seen and unseen mIoU over the seen-score offset, from one pass over the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import torch
from torch import Tensor

from cascade_clip.analysis.stages.pixels import PixelBest
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.labels import IGNORE
from cascade_clip.evaluation.metrics import harmonic_mean

OFFSETS = tuple(round(0.01 * step, 2) for step in range(-20, 51))


@dataclass(frozen=True)
class OffsetPoint:
    """What one seen-score offset gives; fractions in [0, 1], NaN where undefined."""

    offset: float
    pixel_accuracy: float
    miou_seen: float
    miou_unseen: float
    hiou: float
    unseen_taken: float
    """Share of the pixels of unseen classes that were labelled with a seen one."""
    seen_taken: float
    """Share of the pixels of seen classes that were labelled with an unseen one."""


class OffsetCurve:
    """Counts pixels so that the metrics at every offset of a grid follow exactly.

    With a growing offset a pixel goes over once from its best seen to its best unseen class. So it
    is enough to count, by class, at how many offsets of the ascending grid the seen class is still
    chosen (0 to T): T + 1 rows of C counts each for predictions and for hits, however many pictures
    come.
    """

    def __init__(self, classes: ClassSet, offsets: Sequence[float] = OFFSETS) -> None:
        self.offsets = tuple(sorted(set(offsets)))
        seen = torch.zeros(len(classes.names), dtype=torch.bool)
        seen[list(classes.seen_indices)] = True
        self.seen = seen
        shape = (len(self.offsets) + 1, len(seen))
        self.predicted = torch.zeros(shape, dtype=torch.int64)
        """[k, c]: pixels with c as their best seen (unseen) class, for which seen wins k times."""
        self.hits = torch.zeros(shape, dtype=torch.int64)
        """The same of pixels whose true class is c."""
        self.by_truth = torch.zeros(shape[0], 2, dtype=torch.int64)
        """[k, s]: pixels whose true class is unseen (s = 0) or seen (s = 1)."""
        self.truth = torch.zeros(len(seen), dtype=torch.int64)

    def update(self, best: PixelBest, labels: Tensor) -> None:
        """Takes in one picture; `labels` (H, W) int64 are 0..C-1 or `IGNORE`."""
        counted = labels != IGNORE
        truth, wins = labels[counted].cpu(), self._wins(best)[counted].cpu()
        size = len(self.seen)
        for chosen in (best.seen_labels, best.unseen_labels):
            label = chosen[counted].cpu()
            place = wins * size + label
            # A class is in one of the two groups only, so both fill the same table.
            fits = self.seen[label] == (chosen is best.seen_labels)
            self.predicted += self._table(place[fits])
            self.hits += self._table(place[fits & (label == truth)])
        self.truth += torch.bincount(truth, minlength=size)
        groups = wins * 2 + self.seen[truth]
        self.by_truth += torch.bincount(groups, minlength=self.by_truth.numel()).view(-1, 2)

    def points(self) -> list[OffsetPoint]:
        """The metrics at every offset of the grid, ascending."""
        return [self._point(index, offset) for index, offset in enumerate(self.offsets)]

    def best(self) -> OffsetPoint:
        """The point with the highest hIoU (the smallest such offset); undefined ones come last."""
        return max(self.points(), key=lambda point: -1 if isnan(point.hiou) else point.hiou)

    def _wins(self, best: PixelBest) -> Tensor:
        """At how many offsets of the grid the seen class is chosen: (H, W)."""
        lead = best.lead
        limits = torch.tensor(self.offsets, dtype=torch.float32, device=lead.device).double()
        below, up_to = (torch.bucketize(lead, limits, right=right) for right in (False, True))
        return torch.where(best.seen_first, up_to, below)

    def _point(self, index: int, offset: float) -> OffsetPoint:
        # At offset number `index` the seen class is chosen where it wins more than `index` times.
        hits, predicted = (self._chosen(table, index) for table in (self.hits, self.predicted))
        iou = hits.double() / (self.truth + predicted - hits)
        seen, unseen = (iou[group].nanmean().item() for group in (self.seen, ~self.seen))
        total, by_seen = self.by_truth.sum(dim=0), self.by_truth[index + 1 :].sum(dim=0)
        taken = by_seen / total  # (2,): share of unseen and of seen pixels labelled as seen
        return OffsetPoint(
            offset=offset,
            pixel_accuracy=(hits.sum() / self.truth.sum()).item(),
            miou_seen=seen,
            miou_unseen=unseen,
            hiou=harmonic_mean(seen, unseen),
            unseen_taken=taken[0].item(),
            seen_taken=1 - taken[1].item(),
        )

    def _chosen(self, table: Tensor, index: int) -> Tensor:
        """(C,) at one offset: seen classes from the rows above `index`, unseen from the others."""
        return torch.where(self.seen, table[index + 1 :].sum(dim=0), table[: index + 1].sum(dim=0))

    def _table(self, places: Tensor) -> Tensor:
        return torch.bincount(places, minlength=self.hits.numel()).view(self.hits.shape)
