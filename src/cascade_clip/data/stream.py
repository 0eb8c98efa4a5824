"""The endless stream of training samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch.utils.data import Dataset

from cascade_clip.data.labels import IGNORE
from cascade_clip.data.samples import Sample, SegmentationDataset
from cascade_clip.data.sampling import InOrder, Shuffle, derive_seed, seeded
from cascade_clip.errors import UserError

RUN_STRIDE = 10**9
"""Training runs with another seed read the book from another page on."""
REPLACEMENTS = 20
"""How many other pictures are tried in the place of one that can't be read."""

Transform = Callable[[Sample], Sample]


class TrainStream(Dataset[Sample]):
    """The endless stream of training samples; what lies at a position depends on the seed alone.

    A picture that can't be read gives its place to another one, drawn from seed and position too;
    the sample says why. Where `REPLACEMENTS` in a row can't be read, it holds nothing but ignored
    pixels.
    """

    def __init__(
        self, dataset: SegmentationDataset, transform: Transform, seed: int, endless: bool
    ) -> None:
        """`endless` data sets are read on and on instead of epoch by epoch in shuffled order."""
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self.order = InOrder(seed * RUN_STRIDE) if endless else Shuffle(len(dataset), seed)

    def __getitem__(self, position: int) -> Sample:
        with seeded(self.seed, position):
            return self.transform(self._read(position))

    def _read(self, position: int) -> Sample:
        unreadable: list[str] = []
        for index in self._candidates(position):
            try:
                sample = self.dataset[index]
            except UserError as error:
                unreadable.append(str(error))
            else:
                return replace(sample, unreadable=tuple(unreadable))
        nothing = torch.zeros(3, 1, 1, dtype=torch.uint8), torch.full((1, 1), IGNORE)
        return Sample(*nothing, "nothing", tuple(unreadable))

    def _candidates(self, position: int) -> Iterator[int]:
        yield self.order[position]
        for attempt in range(REPLACEMENTS):
            yield derive_seed(self.seed, position, attempt) % len(self.dataset)
