"""What labelling keeps of each picture: a mask and a record, so that it can stop and go on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cascade_clip.batch.segments import Segment, find_segments
from cascade_clip.batch.settings import difference, settings_of
from cascade_clip.batch.task import Task
from cascade_clip.checkpoint.locate import locate_model
from cascade_clip.errors import UserError
from cascade_clip.io.files import write_text
from cascade_clip.io.find import file_stamp
from cascade_clip.io.palette import RGB, class_colours
from cascade_clip.io.results import LABELLING_FILE, MASKS
from cascade_clip.segmentation import Segmentation
from cascade_clip.support.plain_values import read_json

RECORDS = "records"
VISIBLE = "[!.]*.json"
"""Hidden files are half written."""


@dataclass(frozen=True)
class Record:
    """A labelled picture."""

    name: str
    """Stem of its files."""
    picture: str
    """Absolute path of the picture."""
    stamp: str
    """As `file_stamp` gives it: of the file that was labelled."""
    width: int
    height: int
    confidence: float
    """Mean score over the pixels that have a class, 0..1; 0 if none has."""
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Store:
    """The folder `out` with `masks/NAME.png` (palette, 255: no class), `records/NAME.json` and
    `labelling.json`, which holds the settings.

    A picture is done when its record is there: it is written last.
    """

    out: Path
    classes: tuple[str, ...]
    settings: Mapping[str, Any]
    """What decides the labels; `root` is the folder that names of pictures are relative to."""
    left_out: frozenset[str] = frozenset()
    """Names of records that don't count."""

    @property
    def colours(self) -> list[RGB]:
        """One colour for each class."""
        return class_colours(self.classes)

    @property
    def root(self) -> Path:
        """The folder that names of pictures are relative to."""
        return Path(self.settings["root"])

    def mask(self, name: str) -> Path:
        """The mask file of a picture."""
        return self.out / MASKS / f"{name}.png"

    def record(self, name: str) -> Path:
        """The record file of a picture."""
        return self.out / RECORDS / f"{name}.json"

    def picture(self, name: str) -> str | None:
        """Absolute path of the picture whose labels have this name; None: they are no one's."""
        try:
            return _read_record(self.record(name)).picture
        except UserError:
            return None

    def is_done(self, picture: Path, name: str) -> bool:
        """Whether the picture is labelled as it is now."""
        try:
            record = _read_record(self.record(name))
        except UserError:
            return False
        return record.picture == os.path.abspath(picture) and self._problem(record) is None

    def add(self, result: Segmentation, picture: Path, stamp: str, min_area: int) -> Record:
        """Keeps a result; pieces under `min_area` pixels stay in the mask but are no segments.

        `stamp` is that of the file when it was read.
        """
        height, width = result.labels.shape
        assert result.confidence is not None
        covered = result.confidence[result.labels >= 0].astype(float)
        record = Record(
            name=result.name,
            picture=os.path.abspath(picture),
            stamp=stamp,
            width=width,
            height=height,
            confidence=float(covered.mean()) if covered.size else 0.0,
            segments=tuple(find_segments(result, min_area)),
        )
        self._write_settings()
        self.record(result.name).unlink(missing_ok=True)  # that of an older mask
        result.save_labels(self.mask(result.name))
        write_text(self.record(result.name), json.dumps(asdict(record)))
        return record

    def without_stale(self) -> tuple[Store, list[str]]:
        """The store without records that no longer fit their pictures, and a line for each."""
        left_out, problems = [], []
        for path in self._paths():
            try:
                problem = self._problem(_read_record(path))
            except UserError as error:
                problem = str(error)
            if problem is not None:
                left_out.append(path.stem)
                problems.append(problem)
        return replace(self, left_out=frozenset(left_out)), problems

    @property
    def names(self) -> list[str]:
        """Names of all records, in their order."""
        return [path.stem for path in self._paths()]

    def __len__(self) -> int:
        return sum(1 for _ in self._paths())

    def __iter__(self) -> Iterator[Record]:
        """All records, by name; one at a time is in memory."""
        return map(_read_record, self._paths())

    def _paths(self) -> list[Path]:
        found = sorted((self.out / RECORDS).glob(VISIBLE))
        return [path for path in found if path.stem not in self.left_out]

    def _problem(self, record: Record) -> str | None:
        now = file_stamp(Path(record.picture))
        if now == "missing":
            return (
                f"{record.picture} is gone; its labels are left out "
                f"(without {self.record(record.name)}, nothing is said of it)"
            )
        if now != record.stamp:
            return f"{record.picture} has changed since it was labelled; its labels are left out"
        if not self.mask(record.name).is_file():
            return f"{self.mask(record.name)} is gone; {record.picture} is left out"
        return None

    def _write_settings(self) -> None:
        path = self.out / LABELLING_FILE
        text = json.dumps(self.settings, indent=2, ensure_ascii=False) + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)


def open_store(task: Task, out: Path, root: Path) -> Store:
    """The store in a folder, new or to be gone on with. Its root is `root`, or that of the first
    run if it holds `root`. Writes nothing.

    Raises `UserError` if the folder holds labels made with other settings, or of pictures from
    elsewhere, whose names might be those of others; or masks that are not of this program.
    """
    settings = {
        **settings_of(locate_model(task.model), task.classes, task.background),
        "min_area": task.min_area,
        "root": str(root),
    }
    store = Store(out, task.names, settings)
    path = out / LABELLING_FILE
    if not path.is_file() and (out / MASKS).is_dir() and any((out / MASKS).iterdir()):
        raise UserError(
            f"{out / MASKS} holds files that label did not write, and would overwrite; choose "
            "another --out"
        )
    if not any((out / RECORDS).glob(VISIBLE)):
        return store
    stored = _read_settings(path)
    changed = difference(stored, {**settings, "root": stored["root"]})
    if changed is not None:
        raise UserError(
            f"{out} holds labels made with {changed}; choose another --out, or remove it"
        )
    if not root.is_relative_to(stored["root"]):
        raise UserError(
            f"{out} holds labels of pictures in {stored['root']}, now they lie in {root}; "
            "choose another --out, or remove it"
        )
    return replace(store, settings={**settings, "root": stored["root"]})


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        stored = read_json(path)
        return {**stored, "root": str(stored["root"])}
    except (UserError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not say how the labels beside it were made; choose another --out, or "
            "remove that folder"
        ) from error


def _read_record(path: Path) -> Record:
    try:
        values = read_json(path)
        segments = tuple(
            Segment(**{**segment, "bbox": tuple(segment["bbox"])})
            for segment in values.pop("segments")
        )
        return Record(**values, segments=segments)
    except (UserError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no record of a labelled picture; remove it: {error}") from error
