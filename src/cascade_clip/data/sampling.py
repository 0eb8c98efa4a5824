"""Batches that depend only on (seed, step), so that a stopped run resumes with the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Sampler


def derive_seed(*keys: int) -> int:
    """A 63-bit seed from non-negative integers; the same on every machine."""
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def seeded(*keys: int) -> Iterator[None]:
    """Within it, torch's CPU generator starts from `keys`; afterwards it is as before."""
    with torch.random.fork_rng(devices=[]):
        # `torch.manual_seed` asks every kind of device and formats a stack each time: 4 ms
        torch.default_generator.manual_seed(derive_seed(*keys))
        yield


class Shuffle:
    """An endless stream over `length` items: epoch after epoch, each in its own order."""

    def __init__(self, length: int, seed: int) -> None:
        self.length = length
        self.seed = seed
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def __getitem__(self, position: int) -> int:
        """The item at a position (>= 0) of the stream."""
        epoch, offset = divmod(position, self.length)
        if epoch != self._epoch:
            generator = np.random.default_rng((self.seed, epoch))
            self._order = generator.permutation(self.length)
            self._epoch = epoch
        return int(self._order[offset])


@dataclass(frozen=True)
class InOrder:
    """An endless stream over endless items, from item `first` on."""

    first: int

    def __getitem__(self, position: int) -> int:
        """The item at a position (>= 0) of the stream."""
        return self.first + position


class StepBatches(Sampler[list[int]]):
    """Positions in the training stream, one batch per step, without end.

    A step takes `batch_size` consecutive positions, over `world` processes; the first step taken is
    `first_step`. All processes together see the same pictures at the same step, whatever their
    number.
    """

    def __init__(self, batch_size: int, first_step: int = 0, rank: int = 0, world: int = 1) -> None:
        self.share = batch_size // world
        self.batch_size = batch_size
        self.first_step = first_step
        self.rank = rank

    def __iter__(self) -> Iterator[list[int]]:
        step = self.first_step
        while True:
            start = step * self.batch_size + self.rank * self.share
            yield list(range(start, start + self.share))
            step += 1
