"""Labels pictures; what is done is not done again."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from cascade_clip.errors import UserError
from cascade_clip.imageio import RGBArray, read_picture
from cascade_clip.labelling.records import Store
from cascade_clip.labelling.task import Job, Task
from cascade_clip.segmenter import Segmenter, ShrunkPicture

BATCH_SIZE = 8


def common_folder(typed: Sequence[str], pictures: Sequence[Path]) -> Path:
    """The folder that holds everything: folders that were typed, and all pictures."""
    folders = [folder for name in typed if (folder := Path(name)).is_dir()]
    places = [*folders, *(picture.parent for picture in pictures)]
    return Path(os.path.commonpath([os.path.abspath(place) for place in places]))


def jobs_of(pictures: Sequence[Path], root: Path) -> list[Job]:
    """A name for each picture that stays the same when the command is repeated: its path below
    `root`, without ending where that is not needed to tell them apart.

    Raises `UserError` for two pictures whose names would be the same, as `a/b.png` and `a__b.png`.
    """
    paths = ["__".join(Path(os.path.abspath(p)).relative_to(root).parts) for p in pictures]
    stems = [path.removesuffix(Path(path).suffix) for path in paths]
    counts: dict[str, int] = {}
    for stem in stems:
        counts[stem] = counts.get(stem, 0) + 1
    jobs: dict[str, Path] = {}
    for picture, path, stem in zip(pictures, paths, stems, strict=True):
        name = stem if counts[stem] == 1 else path.replace(".", "_")
        if name in jobs:
            raise UserError(
                f"labels of {jobs[name]} and of {picture} would both be called {name}; rename one"
            )
        jobs[name] = picture
    return [(picture, name) for name, picture in jobs.items()]


class Labeller:
    """A model that labels pictures into the store of a task. `notes` says, with their names, what
    was done to pictures that are too long for the network.

    Raises `UserError` for a model that can't be loaded and names that can't be used.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.segmenter = Segmenter.from_pretrained(task.model, device=device)
        names = ["|".join(group) for group in task.classes]
        self.query = self.segmenter.query(names, background=task.background)
        self.store = Store(Path(task.out), task.names)
        self.notes: list[str] = []

    def label(self, jobs: Sequence[Job]) -> list[str]:
        """Labels some pictures together; returns a line for each that could not be read."""
        readable: list[tuple[Path, str, RGBArray]] = []
        errors = []
        for picture, name in jobs:
            try:
                readable.append((picture, name, read_picture(picture)))
            except UserError as error:
                errors.append(str(error))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ShrunkPicture)  # told in notes, with the picture's name
            results = self.segmenter.segment_batch([image for _, _, image in readable], self.query)
        for (picture, name, image), result in zip(readable, results, strict=True):
            if (note := self.segmenter.sizes.note((image.shape[0], image.shape[1]))) is not None:
                self.notes.append(f"{picture}: {note}")
            self.store.add(replace(result, name=name), picture, self.task.min_area)
        return errors

    def label_all(self, jobs: Sequence[Job], advance: Callable[[int], None]) -> list[str]:
        """Labels all pictures, batch after batch; returns a line for each unreadable one."""
        errors: list[str] = []
        for start in range(0, len(jobs), BATCH_SIZE):
            batch = jobs[start : start + BATCH_SIZE]
            errors += self.label(batch)
            advance(len(batch))
        return errors
