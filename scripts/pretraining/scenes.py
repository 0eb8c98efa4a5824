"""Batches of pictures with the names of what is in them; no masks and no positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from cascade_clip.picturebook import CLASSES, Scene, draw_scene
from cascade_clip.picturebook.captions import item_phrases
from cascade_clip.picturebook.palette import WORN

COLOURED = tuple(f"{colour} {name}" for name, colours in WORN.items() for colour in colours)
"""Every colour-name phrase of the picture book: "orange cat", ..."""

MIN_SHARE = 0.02
"""Smallest share of a picture that something fills to be worth a word."""


@dataclass(frozen=True)
class Phase:
    """A stretch of training on windows `window` pixels wide: close-ups or whole scenes."""

    steps: int
    batch_size: int
    window: int


class Batch(NamedTuple):
    """`image` (B, 3, H, W) uint8; `named` (B, classes) and `coloured` (B, phrases): which names
    and colour-name phrases tell of the picture, bool."""

    image: Tensor
    named: Tensor
    coloured: Tensor


class SceneBatches(Dataset[Batch]):
    """Item `step` is the batch of that step: the same whenever and wherever it is drawn.

    `bank` scenes of `size` pixels are drawn when first needed and kept; half of the pictures of a
    batch are mirrored.
    """

    def __init__(self, phases: tuple[Phase, ...], size: int, bank: int, seed: int) -> None:
        self.phases, self.size, self.bank, self.seed = phases, size, bank, seed
        self._drawn: dict[int, Scene] = {}

    def __len__(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def __getitem__(self, step: int) -> Batch:
        phase = self._phase_of(step)
        rng = np.random.Generator(np.random.Philox(key=[self.seed, step]))
        indices = rng.integers(0, self.bank, phase.batch_size)
        corners = rng.integers(0, self.size - phase.window + 1, (phase.batch_size, 2))
        views = [
            close_up(self._draw(int(index)), int(top), int(left), phase.window)
            for index, (top, left) in zip(indices, corners, strict=True)
        ]
        image = torch.from_numpy(np.stack([view.image for view in views]))  # (B, H, W, 3)
        mirrored = torch.from_numpy(rng.random(phase.batch_size) < 0.5)[:, None, None, None]
        image = torch.where(mirrored, image.flip(2), image)
        told = [view.told for view in views]
        return Batch(
            image=image.permute(0, 3, 1, 2).contiguous(),  # (B, 3, H, W)
            named=torch.tensor([[name in words for name in CLASSES] for words in told]),
            coloured=torch.tensor([[phrase in words for phrase in COLOURED] for words in told]),
        )

    def _draw(self, index: int) -> Scene:
        if index not in self._drawn:
            self._drawn[index] = draw_scene(self.seed, index, self.size)
        return self._drawn[index]

    def _phase_of(self, step: int) -> Phase:
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        raise IndexError(step)


class View(NamedTuple):
    """A picture uint8 (H, W, 3) and the words that tell of it."""

    image: NDArray[np.uint8]
    told: frozenset[str]


def close_up(scene: Scene, top: int, left: int, side: int) -> View:
    """A square window of a scene, with the words for what fills at least `MIN_SHARE` of it."""
    rows, columns = slice(top, top + side), slice(left, left + side)
    share = np.bincount(scene.mask[rows, columns].ravel(), minlength=len(CLASSES)) / side**2
    visible = [item for item in scene.items if share[CLASSES.index(item.name)] >= MIN_SHARE]
    return View(scene.image[rows, columns], frozenset(item_phrases(visible)))


class StepsFrom(Sampler[int]):
    """The steps from `first` on, of `total`; its length is `total`, as Lightning counts a resumed
    epoch from its beginning."""

    def __init__(self, first: int, total: int) -> None:
        self.first, self.total = first, total

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.total))

    def __len__(self) -> int:
        return self.total
