"""YOLO's segmentation layout, as Ultralytics and exports of other tools have it."""

from __future__ import annotations

from collections.abc import Iterator
from os.path import abspath
from pathlib import Path
from typing import Any

from cascade_clip.data.annotations.found import Annotated, Annotation, Found, Part, wrong_format
from cascade_clip.data.annotations.regions import polygon
from cascade_clip.errors import UserError
from cascade_clip.io.find import is_picture
from cascade_clip.io.lines import read_lines
from cascade_clip.support.plain_values import named, read_yaml

PARTS: tuple[tuple[str, Part | None], ...] = (("train", "train"), ("val", "val"), ("test", None))


def read(path: Path) -> Found:
    """The polygons of all pictures that `data.yaml` names: those in the folders, or listed in the
    files, of `train`, `val` and `test`. The format has no order; boxes are not taken.

    Raises `UserError` for another form.
    """
    values = named(read_yaml(path), str(path))
    names = _names(values.get("names"))
    if names is None:
        raise wrong_format(path, "data.yaml of YOLO", "it has no `names`")
    found = Found("YOLO-seg", path, list(names.values()), ordered=False)
    seen: set[Path] = set()
    for key, part in PARTS:
        for picture in _pictures(path, values, key):
            if picture not in seen:
                seen.add(picture)
                found.pictures.append(_read_labels(found, picture, names, part))
    if not found.pictures:
        raise wrong_format(path, "data.yaml of YOLO", "its train, val and test hold no pictures")
    return found


def _names(stored: Any) -> dict[int, str] | None:
    if isinstance(stored, dict) and all(isinstance(number, int) for number in stored):
        return {number: str(stored[number]) for number in sorted(stored)}
    return dict(enumerate(map(str, stored))) if isinstance(stored, list) else None


def _pictures(path: Path, values: dict[str, Any], key: str) -> Iterator[Path]:
    stated = values.get(key) or []
    for place in stated if isinstance(stated, list) else [stated]:
        there = _existing(path.parent, values.get("path"), str(place))
        if there is not None and there.is_dir():
            yield from sorted(file for file in there.rglob("*") if is_picture(file))
        elif there is not None:
            for line in read_lines(there):
                listed = _existing(there.parent, values.get("path"), line)
                yield listed or there.parent / line


def _existing(folder: Path, stated: Any, place: str) -> Path | None:
    """Where a path of the file leads: from its `path`, which may be of another machine, or from its
    own folder; `../train/images` is meant from there, too."""
    bases = [folder / str(stated), folder] if stated else [folder]
    candidates = [base / place for base in bases] + [folder / place.removeprefix("../")]
    return next((candidate for candidate in candidates if candidate.exists()), None)


def _read_labels(
    found: Found, picture: Path, names: dict[int, str], part: Part | None
) -> Annotated:
    annotated = Annotated(abspath(picture), str(picture), part=part)
    file = labels_of(picture)
    if not file.is_file():
        return annotated
    for number, line in enumerate(read_lines(file), start=1):
        entry = f"{file} line {number}"
        label, *shares = line.split()
        if len(shares) == 4:
            found.leave_out("boxes", entry)
            continue
        try:
            if not label.isdigit() or int(label) not in names:
                raise UserError(f"class {label} has no name in {found.source.name}")
            if len(shares) % 2:
                raise UserError("an odd number of coordinates")
            corners = list(zip(shares[::2], shares[1::2], strict=True))
            region = polygon(corners, relative=True)
        except UserError as error:
            found.leave_out("regions that make no sense", f"{entry}: {error}")
            continue
        annotated.annotations.append(Annotation(names[int(label)], region, entry))
    return annotated


def labels_of(picture: Path) -> Path:
    """Where the labels of a picture lie: in `labels` instead of the last `images` of its path."""
    parts = list(picture.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")
