"""Metrics of generalized zero-shot segmentation, from one confusion matrix over a whole data set.

Seen and unseen scores are means over different rows of the same matrix: every pixel competes among
all classes (generalized zero-shot protocol; ZegCLIP, arXiv 2212.03588, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from cascade_clip.data.labels import IGNORE

NOTHING_COUNTS = "no pixel counts: the masks hold no class, all is ignored or unlabelled"


class Metrics(NamedTuple):
    """Results as fractions in [0, 1]; NaN where a number is undefined.

    A class that occurs neither in the ground truth nor in the predictions has no IoU and is left
    out of the means.
    """

    pixel_accuracy: float
    miou: float
    """Mean IoU over all classes."""
    miou_seen: float
    miou_unseen: float
    hiou: float
    """Harmonic mean of `miou_seen` and `miou_unseen`."""
    iou_per_class: dict[str, float]
    absent: tuple[str, ...] = ()
    """Classes without a pixel in the ground truth: where one is predicted, its IoU is 0."""

    @property
    def predicted_only(self) -> tuple[str, ...]:
        """Absent classes that were predicted somewhere."""
        return tuple(name for name in self.absent if not math.isnan(self.iou_per_class[name]))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and names, ready for JSON (with NaN for undefined values)."""
        return self._asdict()


class SegmentationMetrics(Metric):
    """Accumulates predicted and true labels; sums over processes by itself.

    Args:
        classes: all class names, in label order.
        unseen: names of the unseen ones; the others are seen.
        ignore: ground-truth value of pixels that do not count, whatever was predicted there.

    Raises:
        ValueError: if class names repeat or an unseen name is no class.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False
    confusion: Tensor
    """(C, C) int64: pixels by true class (row) and predicted class (column)."""

    def __init__(self, classes: Sequence[str], unseen: Sequence[str], ignore: int = IGNORE) -> None:
        super().__init__()
        if len(set(classes)) != len(classes):
            raise ValueError("class names must differ from each other")
        unknown = sorted(set(unseen) - set(classes))
        if unknown:
            raise ValueError(f"unseen names that are no class: {', '.join(unknown)}")
        self.classes = tuple(classes)
        self.ignore = ignore
        self.is_unseen = torch.tensor([name in set(unseen) for name in classes], dtype=torch.bool)
        size = len(self.classes)
        zeros = torch.zeros(size, size, dtype=torch.int64)
        self.add_state("confusion", default=zeros, dist_reduce_fx="sum")

    def update(self, pred_labels: Tensor, labels: Tensor) -> None:
        """Count pixels.

        Args:
            pred_labels: integers in 0..C-1, any shape.
            labels: ground truth of the same shape, in 0..C-1 or `ignore`.

        Raises:
            ValueError: if shapes differ or a label is out of range.
        """
        if pred_labels.shape != labels.shape:
            raise ValueError(
                f"predicted labels {tuple(pred_labels.shape)} and ground truth "
                f"{tuple(labels.shape)} must have the same shape; predict at the original size"
            )
        counted = labels != self.ignore
        truth = self._checked(labels[counted], "ground truth")
        predicted = self._checked(pred_labels[counted], "predicted labels")
        size = len(self.classes)
        pairs = torch.bincount(truth * size + predicted, minlength=size * size)
        self.confusion += pairs.view(size, size)

    def compute(self) -> Metrics:
        """The metrics of everything counted so far."""
        confusion = self.confusion.cpu()
        hits = confusion.diagonal()
        pixels = confusion.sum(1)  # (C,)
        unions = confusion.sum(0) + pixels - hits
        iou = hits.double() / unions  # (C,), 0 / 0 = NaN for absent classes
        seen = _mean(iou[~self.is_unseen])
        unseen = _mean(iou[self.is_unseen])
        return Metrics(
            pixel_accuracy=(hits.sum().double() / confusion.sum()).item(),
            miou=_mean(iou),
            miou_seen=seen,
            miou_unseen=unseen,
            hiou=harmonic_mean(seen, unseen),
            iou_per_class=dict(zip(self.classes, iou.tolist(), strict=True)),
            absent=tuple(name for name, n in zip(self.classes, pixels, strict=True) if n == 0),
        )

    def _checked(self, values: Tensor, what: str) -> Tensor:
        values = values.long()
        wrong = (values < 0) | (values >= len(self.classes))
        if wrong.any():
            raise ValueError(
                f"{what} hold {sorted(set(values[wrong].tolist()))[:8]}, but there are "
                f"{len(self.classes)} classes (0..{len(self.classes) - 1}; {self.ignore} in the "
                "ground truth means ignore)"
            )
        return values


def nothing_counts(rows: Collection[Metrics]) -> bool:
    """Whether there are metrics, all of not a single pixel."""
    return bool(rows) and all(math.isnan(m.pixel_accuracy) for m in rows)


def harmonic_mean(seen: float, unseen: float) -> float:
    """2 S U / (S + U): 0 if either is 0, NaN if either is undefined."""
    if math.isnan(seen) or math.isnan(unseen):
        return math.nan
    return 2 * seen * unseen / (seen + unseen) if seen * unseen > 0 else 0.0


def _mean(iou: Tensor) -> float:
    return iou.nanmean().item()
