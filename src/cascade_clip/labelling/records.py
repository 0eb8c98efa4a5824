"""What labelling keeps of each picture: a mask and a record, so that it can stop and go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cascade_clip.errors import UserError
from cascade_clip.imageio import write_whole
from cascade_clip.labelling.segments import Segment, find_segments
from cascade_clip.labelling.task import Task
from cascade_clip.palette import RGB, class_colours
from cascade_clip.segmentation import Segmentation

SETTINGS_FILE = "labelling.json"


@dataclass(frozen=True)
class Record:
    """A labelled picture."""

    name: str
    """Stem of its files."""
    picture: str
    """Path of the picture."""
    width: int
    height: int
    confidence: float
    """Mean score over the pixels that have a class, 0..1; 0 if none has."""
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Store:
    """The folder `out` with `masks/NAME.png` (palette, 255: no class) and `records/NAME.json`.

    A picture is done when its record is there: it is written last.
    """

    out: Path
    classes: tuple[str, ...]

    @property
    def colours(self) -> list[RGB]:
        """One colour for each class."""
        return class_colours(self.classes)

    def mask(self, name: str) -> Path:
        """The mask file of a picture."""
        return self.out / "masks" / f"{name}.png"

    def record(self, name: str) -> Path:
        """The record file of a picture."""
        return self.out / "records" / f"{name}.json"

    def is_done(self, name: str) -> bool:
        """Whether the picture is labelled."""
        return self.record(name).is_file()

    def add(self, result: Segmentation, picture: Path, min_area: int) -> Record:
        """Keeps a result; pieces under `min_area` pixels stay in the mask but are no segments."""
        height, width = result.labels.shape
        assert result.confidence is not None
        covered = result.confidence[result.labels >= 0].astype(float)
        record = Record(
            name=result.name,
            picture=str(picture),
            width=width,
            height=height,
            confidence=float(covered.mean()) if covered.size else 0.0,
            segments=tuple(find_segments(result, min_area)),
        )
        result.save_labels(self.mask(result.name))
        write_text(self.record(result.name), json.dumps(asdict(record)))
        return record

    def __len__(self) -> int:
        return sum(1 for _ in (self.out / "records").glob("*.json"))

    def __iter__(self) -> Iterator[Record]:
        """All records, by name; one at a time is in memory."""
        for path in sorted((self.out / "records").glob("*.json")):
            yield _read_record(path)


def _shown(setting: object) -> str:
    """A setting as one types it."""
    if isinstance(setting, list) and all(isinstance(group, list) for group in setting):
        return "'" + ", ".join("|".join(map(str, group)) for group in setting) + "'"
    return str(setting)


def open_store(task: Task, root: Path) -> tuple[Store, Path]:
    """The store in the task's folder, new or to be gone on with; and the folder that names of
    pictures are relative to: `root`, or that of the first run if it holds `root`.

    Raises `UserError` if the folder holds labels made with other settings, or of pictures from
    elsewhere, whose names might be those of others.
    """
    out = Path(task.out)
    path = out / SETTINGS_FILE
    wanted = {
        "model": task.model,
        "classes": [list(group) for group in task.classes],
        "background": task.background,
        "min_area": task.min_area,
    }
    if path.is_file():
        stored = _read_settings(path)
        different = [key for key in wanted if stored.get(key) != wanted[key]]
        if different:
            key = different[0]
            raise UserError(
                f"{out} holds labels made with {key} {_shown(stored.get(key))}, now it is "
                f"{_shown(wanted[key])}; "
                "choose another --out, or remove it"
            )
        if not root.is_relative_to(stored["root"]):
            raise UserError(
                f"{out} holds labels of pictures in {stored['root']}, now they lie in {root}; "
                "choose another --out, or remove it"
            )
        root = Path(stored["root"])
    else:
        settings = json.dumps({**wanted, "root": str(root)}, indent=2, ensure_ascii=False)
        write_text(path, settings + "\n")
    return Store(out, task.names), root


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all, with its folder. Raises `UserError`."""
    write_whole(path, partial(Path.write_text, data=text, encoding="utf-8"))


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {**stored, "root": str(stored["root"])}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} does not say how the labels beside it were made; choose another --out, or "
            "remove that folder"
        ) from error


def _read_record(path: Path) -> Record:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        segments = tuple(
            Segment(**{**segment, "bbox": tuple(segment["bbox"])})
            for segment in values.pop("segments")
        )
        return Record(**values, segments=segments)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no record of a labelled picture; remove it: {error}") from error
