"""Labels pictures; what is done is not done again."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cascade_clip.batch.pipeline import Pipeline, Read
from cascade_clip.batch.records import Store
from cascade_clip.batch.task import Job, Task
from cascade_clip.errors import UserError
from cascade_clip.export.network import fastest_device
from cascade_clip.io.find import file_stamp
from cascade_clip.io.images import read_picture
from cascade_clip.segmentation import Segmentation
from cascade_clip.segmenter import Segmenter
from cascade_clip.support.printable import plain_file_name


def common_folder(typed: Sequence[str], pictures: Sequence[Path]) -> Path:
    """The folder that holds everything: folders that were typed, and all pictures."""
    folders = [folder for name in typed if (folder := Path(name)).is_dir()]
    places = [*folders, *(picture.parent for picture in pictures)]
    return Path(os.path.commonpath([os.path.abspath(place) for place in places]))


def jobs_of(pictures: Sequence[Path], store: Store) -> list[Job]:
    """A name for each picture that stays the same when the command is repeated: its path below the
    store's root, without ending where that is not needed to tell it from others, typed now or
    labelled before.

    Raises `UserError` for two pictures whose names would be the same, as `a/b.png` and `a__b.png`.
    """
    sources = [Path(os.path.abspath(picture)) for picture in pictures]
    below = ["__".join(source.relative_to(store.root).parts).lstrip(".") for source in sources]
    paths = [plain_file_name(path) for path in below]
    stems = [path.removesuffix(Path(path).suffix) for path in paths]
    counts = Counter(stems)
    jobs: dict[str, Path] = {}
    for picture, source, path, stem in zip(pictures, sources, paths, stems, strict=True):
        name, whole = stem, path.replace(".", "_")
        owner = store.picture(stem)
        if owner != str(source) and (owner is not None or counts[stem] > 1):
            name, owner = whole, store.picture(whole)
        other = jobs.get(name, owner if owner != str(source) else None)
        if other is not None:
            raise UserError(
                f"labels of {other} and of {picture} would both be called {name}; rename one"
            )
        jobs[name] = picture
    return [(picture, name) for name, picture in jobs.items()]


@dataclass(frozen=True)
class Labelled:
    """What became of one picture."""

    error: str | None = None
    """Why it has no labels: it could not be read."""
    note: str | None = None
    """What the user should know about how it was treated."""


@dataclass(frozen=True)
class _Picture:
    path: Path
    name: str
    stamp: str


class Labeller:
    """A model that labels pictures into a store.

    Raises `UserError` for a model that can't be loaded and names that can't be used.
    """

    def __init__(self, task: Task, store: Store) -> None:
        self.task, self.store = task, store
        device = fastest_device(task.model)
        self.segmenter = Segmenter.from_pretrained(task.model, device=device)
        names = ["|".join(group) for group in task.classes]
        query = self.segmenter.query(names, background=task.background)
        self.pipeline = Pipeline(self.segmenter, query, self._read, self._save)

    def label(self, jobs: Iterable[Job]) -> Iterator[Labelled]:
        """What became of each picture, in their order, as soon as it is kept."""
        pictures = (_Picture(path, name, file_stamp(path)) for path, name in jobs)
        return self.pipeline.run(pictures)

    def _read(self, picture: _Picture) -> Read[_Picture] | Labelled:
        try:
            return Read(picture, read_picture(picture.path))
        except UserError as error:
            return Labelled(error=str(error))

    def _save(self, picture: _Picture, result: Segmentation) -> Labelled:
        named = replace(result, name=picture.name)
        self.store.add(named, picture.path, picture.stamp, self.task.min_area)
        height, width = result.labels.shape
        note = self.segmenter.predictor.plan((height, width)).note
        return Labelled(note=None if note is None else f"{picture.path}: {note}")
