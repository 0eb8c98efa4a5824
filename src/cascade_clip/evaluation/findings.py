"""What an evaluation found out about a model."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from cascade_clip.data.labels import IGNORE
from cascade_clip.data.part import Part
from cascade_clip.data.samples import SegmentationDataset
from cascade_clip.evaluation.examples import Rows
from cascade_clip.evaluation.methods import Method
from cascade_clip.evaluation.transfer import Judgement
from cascade_clip.model.fast.precision import Precision


@dataclass
class Accuracies:
    """Listens to an evaluation: the share of labelled pixels that came out right, by picture."""

    values: list[float] = field(default_factory=list)
    """0..1 in the order of the data set; NaN for a picture without a labelled pixel."""
    ignored: int = IGNORE
    """The true label of pixels that don't count."""

    def __call__(self, predicted: Tensor, truth: Tensor) -> None:
        """Takes the labels (B, H, W) of the next B pictures."""
        counted = (truth != self.ignored).flatten(1).sum(1).double()
        right = ((predicted == truth) & (truth != self.ignored)).flatten(1).sum(1)
        self.values += (right / counted).tolist()

    def worst(self, count: int) -> list[int]:
        """Indices of the pictures with the lowest shares, the lowest first."""
        return heapq.nsmallest(count, self._known(), key=self.values.__getitem__)

    def best(self, count: int) -> list[int]:
        """Indices of the pictures with the highest shares, the highest first."""
        return heapq.nlargest(count, self._known(), key=self.values.__getitem__)

    def _known(self) -> list[int]:
        return [index for index, value in enumerate(self.values) if not math.isnan(value)]


@dataclass(frozen=True)
class Findings:
    """What an evaluation found out about a model; the first of `rows` is the model itself."""

    method: Method
    rows: Rows
    judgement: Judgement
    """Which classes of the data count as seen."""
    dataset: SegmentationDataset
    part: Part
    text_embeddings: Tensor
    """(C, d) or (C, K, d), in the order of the classes"""
    accuracies: Accuracies
    """Of the model itself."""
    precision: Precision
    """Of the model itself."""
    seconds: Mapping[str, float]
    """Time spent, by what it was spent on."""
