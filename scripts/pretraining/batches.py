"""Batches of pictures and the words for what is in them; no masks and no positions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from scripts.pretraining.bank import Bank

CROP_STRETCH = 0.2
"""Largest natural logarithm of a crop's width over its height, either way."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training on pictures `side` pixels wide, of which a share of `singles` shows
    one thing and the others whole scenes."""

    steps: int
    batch_size: int
    side: int
    singles: float


class Batch(NamedTuple):
    """`image` (B, 3, H, W) uint8; `told` (B, phrases) bool: which phrases tell of each picture."""

    image: Tensor
    told: Tensor


class PictureBatches(Dataset[Batch]):
    """Item `step` is the batch of that step: the same whenever and wherever it is made.

    Pictures are random crops of at least `smallest` of a drawn picture's area, and half of them are
    mirrored; the words stay those of the whole picture, as CLIP's captions do.
    """

    def __init__(
        self, phases: tuple[Phase, ...], bank: Bank, scenes: int, smallest: float, seed: int
    ) -> None:
        self.phases, self.bank, self.scenes = phases, bank, scenes
        self.smallest, self.seed = smallest, seed

    def __len__(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def __getitem__(self, step: int) -> Batch:
        phase = self._phase_of(step)
        rng = np.random.Generator(np.random.Philox(key=[self.seed, step]))
        single = rng.random(phase.batch_size) < phase.singles
        of_scenes = rng.integers(0, self.scenes, phase.batch_size)
        of_singles = rng.integers(self.scenes, len(self.bank.told), phase.batch_size)
        rows = np.where(single, of_singles, of_scenes)
        views = [
            random_crop(self.bank.pictures[row], phase.side, self.smallest, rng) for row in rows
        ]
        image = torch.from_numpy(np.stack(views))  # (B, H, W, 3)
        return Batch(
            image=image.permute(0, 3, 1, 2).contiguous(),  # (B, 3, H, W)
            told=torch.from_numpy(self.bank.told[rows]),
        )

    def _phase_of(self, step: int) -> Phase:
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        raise IndexError(step)


def random_crop(
    picture: NDArray[np.uint8], side: int, smallest: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A random part of a square picture (H, H, 3) of `smallest` to all of its area, resized to a
    square of `side` pixels and mirrored at random."""
    whole = picture.shape[0]
    area = rng.uniform(smallest, 1.0)
    stretch = math.exp(rng.uniform(-CROP_STRETCH, CROP_STRETCH))
    width = min(whole, round(whole * math.sqrt(area * stretch)))
    height = min(whole, round(whole * math.sqrt(area / stretch)))
    left, top = rng.integers(0, whole - width + 1), rng.integers(0, whole - height + 1)
    part = np.ascontiguousarray(picture[top : top + height, left : left + width])
    resized = Image.fromarray(part).resize((side, side), Image.Resampling.BILINEAR)
    crop = np.asarray(resized)
    return crop[:, ::-1] if rng.random() < 0.5 else crop


class StepsFrom(Sampler[int]):
    """The steps from `first` on, of `total`; its length is `total`, as Lightning counts a resumed
    epoch from its beginning."""

    def __init__(self, first: int, total: int) -> None:
        self.first, self.total = first, total

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.total))

    def __len__(self) -> int:
        return self.total
