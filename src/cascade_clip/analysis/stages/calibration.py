"""Whether scores mean what they say: reliability and expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Pixels by the score of their predicted class, in bins of equal width over [0, 1]; all (BINS,)
    float64."""

    pixels: Tensor
    confidence: Tensor
    """Mean score within the bin, NaN if it is empty."""
    accuracy: Tensor
    """Share of its pixels that are right, NaN if it is empty."""

    @property
    def error(self) -> float:
        """Expected calibration error: the distance between score and accuracy, averaged over
        pixels (Naeini et al., AAAI 2015; Guo et al., arXiv 1706.04599, Eq. 3); NaN without any."""
        gaps = (self.accuracy - self.confidence).abs().nan_to_num()
        return ((gaps * self.pixels).sum() / self.pixels.sum()).item()

    @property
    def overconfidence(self) -> float:
        """Mean score minus accuracy over all pixels; NaN without any."""
        gaps = (self.confidence - self.accuracy).nan_to_num()
        return ((gaps * self.pixels).sum() / self.pixels.sum()).item()


class ReliabilityCount:
    """Counts pixels into the bins of several groups."""

    def __init__(self, groups: int) -> None:
        self.totals = torch.zeros(3, groups, BINS, dtype=torch.float64)
        """Pixels, sum of scores, pixels that are right; by group and bin."""

    def update(self, confidence: Tensor, correct: Tensor, group: Tensor) -> None:
        """Takes in n pixels: scores in [0, 1], bool, group number; all (n,)."""
        confidence = confidence.double().cpu().clamp(0, 1)
        place = (confidence * BINS).long().clamp_(max=BINS - 1) + BINS * group.long().cpu()
        shape = self.totals.shape[1:]
        for total, weight in zip(
            self.totals,
            (torch.ones_like(confidence), confidence, correct.double().cpu()),
            strict=True,
        ):
            total += torch.bincount(place, weight, minlength=shape.numel()).view(shape)

    def of(self, *groups: int) -> Reliability:
        """The reliability of some of the groups together."""
        pixels, scores, right = self.totals[:, list(groups)].sum(dim=1)
        return Reliability(pixels, scores / pixels, right / pixels)
