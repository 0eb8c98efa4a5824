"""Data sets: pictures with labels, and the endless stream of training samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cascade_clip.config import DataSettings, PicturebookSettings
from cascade_clip.data.class_lists import STANDARD, ClassList
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.labels import IGNORE
from cascade_clip.data.sampling import Onwards, Shuffle, derive_seed, seeded
from cascade_clip.data.split import Split
from cascade_clip.errors import UserError
from cascade_clip.picturebook import CLASSES, UNSEEN, SceneSettings, draw_scene

SEED_OFFSET: dict[Split, int] = {"train": 0, "val": 10_000, "test": 20_000, "calibration": 30_000}
"""Scenes of split x are drawn from book `seed + SEED_OFFSET[x]`, with seed < 10,000: no split ever
shows a scene of another. Settings such as the seen-score offset are chosen on `calibration`, which
data sets of files have only with a list of that name; their `test` is their `val`."""

RUN_STRIDE = 10**9
"""Training runs with another seed read the book from another page on."""
REPLACEMENTS = 20
"""How many other pictures are tried in the place of one that can't be read."""


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


class PicturebookDataset:
    """`length` scenes of one split of the picture book, drawn when asked for.

    Any index below 10**18 can be drawn; `length` only says where iteration ends.
    """

    def __init__(self, settings: PicturebookSettings, split: Split, length: int) -> None:
        self.settings = settings
        self.split = split
        self.length = length
        self.seed = settings.seed + SEED_OFFSET[split]
        self.scenes = SceneSettings(
            things=settings.things,
            thing_size=settings.thing_size,
            stuff=settings.stuff,
            max_overlap=settings.max_overlap,
        )

    @property
    def classes(self) -> ClassSet:
        return ClassSet(CLASSES, UNSEEN)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        scene = draw_scene(self.seed, index, self.settings.size, self.scenes)
        return Sample(
            image=torch.from_numpy(scene.image).permute(2, 0, 1).contiguous(),
            labels=torch.from_numpy(scene.mask).long(),
            name=f"{self.split}-{index:06d}",
        )


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
        self.order = Onwards(seed * RUN_STRIDE) if endless else Shuffle(len(dataset), seed)

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


def collate(samples: Sequence[Sample]) -> Batch:
    """Stacks samples of one size."""
    return Batch(
        torch.stack([sample.image for sample in samples]),
        torch.stack([sample.labels for sample in samples]),
        tuple(message for sample in samples for message in sample.unreadable),
    )


def open_dataset(
    settings: DataSettings, split: Split, length: int | None = None
) -> SegmentationDataset:
    """One split of the data set that `settings` name, at most `length` pictures of it.

    Raises `UserError` if files are missing or make no sense.
    """
    if settings.name == "picturebook":
        ClassList(CLASSES, {STANDARD: UNSEEN}).class_set(settings.split, settings.synonyms)
        return PicturebookDataset(
            settings.picturebook, split, length or settings.picturebook.eval_scenes
        )
    from cascade_clip.data.folder import FolderDataset
    from cascade_clip.data.prepared import PreparedDataset

    root, class_split, synonyms = settings.root, settings.split, settings.synonyms
    if settings.name != "folder":
        return PreparedDataset(
            root, settings.name, split, length, class_split=class_split, synonyms=synonyms
        )
    assert root is not None
    return FolderDataset(root, split, length, class_split=class_split, synonyms=synonyms)


def has_calibration(settings: DataSettings) -> bool:
    """Whether the data that `settings` name has pictures for choosing settings such as the
    seen-score offset, besides those that results are reported on."""
    try:
        open_dataset(settings, "calibration", 1)
    except UserError:
        return False
    return True
