"""Samples and batches: what data sets give, and what training and evaluation ask of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from cascade_clip.data.classes import ClassSet


@dataclass(frozen=True)
class Sample:
    """One picture: RGB image (3, H, W) uint8, labels (H, W) int64 or uint8, and its name."""

    image: Tensor
    labels: Tensor
    name: str
    unreadable: tuple[str, ...] = ()
    """Why each picture could not be read in whose place this one came."""


class Batch(NamedTuple):
    """Pictures of one size: images (B, 3, H, W) uint8 and labels (B, H, W) int64 or uint8."""

    images: Tensor
    labels: Tensor
    unreadable: tuple[str, ...] = ()
    """Messages about pictures that others took the place of."""


class SegmentationDataset(Protocol):
    """What training and evaluation ask of a data set."""

    @property
    def classes(self) -> ClassSet: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def collate(samples: Sequence[Sample]) -> Batch:
    """Stacks samples of one size."""
    return Batch(
        torch.stack([sample.image for sample in samples]),
        torch.stack([sample.labels for sample in samples]),
        tuple(message for sample in samples for message in sample.unreadable),
    )
