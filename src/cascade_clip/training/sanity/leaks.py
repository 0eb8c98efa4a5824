"""Data sets whose unseen labels are scrambled: what training does with them must not change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cascade_clip.config import Setting
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.labels import IGNORE
from cascade_clip.data.samples import Sample, SegmentationDataset
from cascade_clip.data.sampling import derive_seed


@dataclass(frozen=True)
class Scramble:
    """Replaces every pixel of an unseen class by one of `values`, at random."""

    name: str
    unseen: tuple[int, ...]
    values: tuple[int, ...]

    def __call__(self, labels: Tensor, seed: int) -> Tensor:
        """Labels (H, W) of the same type; a seed gives the same ones each time."""
        generator = torch.Generator().manual_seed(derive_seed(seed))
        values = torch.tensor(self.values, dtype=labels.dtype)
        drawn = values[torch.randint(len(values), labels.shape, generator=generator)]  # (H, W)
        hidden = torch.isin(labels, torch.tensor(self.unseen, dtype=labels.dtype))
        return torch.where(hidden, drawn, labels)


def scrambles(setting: Setting, unseen: Sequence[int]) -> list[Scramble]:
    """What may be done to unseen labels without training noticing it; nothing in the full setting.

    Inductive training doesn't know that unseen classes exist, so their pixels may even be ignored
    ones. Transductive training knows where they lie, but not which of them it is.
    """
    labels = tuple(unseen)
    shuffled = Scramble("shuffled", labels, labels)
    hidden = Scramble("ignored", labels, (IGNORE,))
    if setting == "full" or not labels:
        return []
    if setting == "inductive":
        return [shuffled, hidden]
    return [shuffled] if len(labels) > 1 else []


class Scrambled:
    """A data set with its unseen labels scrambled, and else the same."""

    def __init__(self, dataset: SegmentationDataset, scramble: Scramble) -> None:
        self.dataset = dataset
        self.scramble = scramble

    @property
    def classes(self) -> ClassSet:
        return self.dataset.classes

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        return replace(sample, labels=self.scramble(sample.labels, index))
