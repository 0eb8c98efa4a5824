"""Pictures with their truth and what methods made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cascade_clip.data.labels import IGNORE
from cascade_clip.evaluation.metrics import Metrics
from cascade_clip.io.images import RGBArray

Labels = npt.NDArray[np.integer]
Rows = Mapping[str, Metrics]
"""Metrics by method, best known name first."""


@dataclass(frozen=True)
class Example:
    """One picture with its true labels and what each method (or stage) made of it."""

    name: str
    image: RGBArray
    """(H, W, 3)"""
    truth: Labels
    """(H, W), `ignored` where unlabelled."""
    predictions: Mapping[str, Labels] = field(default_factory=dict)
    ignored: int = IGNORE

    def accuracy(self, method: str) -> float:
        """Share of labelled pixels that the method got right, 0..1; NaN without any."""
        counted = self.truth != self.ignored
        if not counted.any():
            return math.nan
        return float((self.predictions[method] == self.truth)[counted].mean())
