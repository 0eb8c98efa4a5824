"""Reads every picture and mask of a data set: what is wrong with them, and what is in them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_clip.data.classes import ClassSet
from cascade_clip.data.folder import background_advice
from cascade_clip.data.labels import special_labels
from cascade_clip.data.pairs import (
    Pair,
    from_zero,
    lies_beside,
    read_data_picture,
    read_mask,
)
from cascade_clip.data.survey import LISTED, DataProblem, Kind, Survey
from cascade_clip.errors import UserError
from cascade_clip.io.files import write_text
from cascade_clip.support.messages import some_of
from cascade_clip.support.parallel import in_processes


@dataclass(frozen=True)
class Examined:
    """What one picture and its mask hold."""

    pair: Pair
    problems: tuple[DataProblem, ...]
    pixels: Mapping[int, int]
    """Pixels of each label; empty if the mask can't be read."""


@dataclass
class Contents:
    """What the masks of one part hold."""

    pictures: int = 0
    pixels: int = 0
    ignored: int = 0
    unlabelled: int = 0
    class_pixels: Counter[str] = field(default_factory=Counter)
    class_pictures: Counter[str] = field(default_factory=Counter)
    """Pictures in which a class has any pixel."""
    without_class: int = 0
    """Readable masks in which no pixel has a class."""
    beyond: set[int] = field(default_factory=set)
    """Labels without a name."""

    def add(self, pixels: Mapping[int, int], names: Sequence[str]) -> None:
        """Counts one picture; labels beyond the names count as pixels only."""
        self.pictures += 1
        self.pixels += sum(pixels.values())
        special = special_labels(len(names))
        meanings = {meaning: label for label, meaning in special.items()}
        self.beyond |= {label for label in pixels if label >= len(names) and label not in special}
        self.ignored += pixels.get(meanings["ignored"], 0)
        self.unlabelled += pixels.get(meanings.get("unlabelled", -1), 0)
        present = {names[label]: n for label, n in pixels.items() if 0 <= label < len(names)}
        self.class_pixels.update(present)
        self.class_pictures.update(present.keys())
        self.without_class += bool(pixels) and not present


@dataclass(frozen=True)
class CheckReport:
    """The whole data set."""

    root: Path
    classes: ClassSet | None
    contents: Mapping[str, Contents]
    """By part."""
    problems: Sequence[DataProblem]
    notes: Sequence[str]
    """Worth knowing, but no hindrance."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        names = () if self.classes is None else self.classes.names
        return {
            "data": str(self.root),
            "classes": list(names),
            "parts": {part: _plain(found, names) for part, found in self.contents.items()},
            "problems": [{**asdict(found), "file": str(found.file)} for found in self.problems],
            "notes": list(self.notes),
        }

    def write(self, path: Path) -> None:
        """Writes everything as JSON. Raises `UserError` if that can't be done."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
        write_text(path, text)


def check(found: Survey, jobs: int, progress: Callable[[int, int], None]) -> CheckReport:
    """Examines all files of a surveyed data set; `progress` takes how many pictures are done, and
    of how many."""
    names = () if found.classes is None else found.classes.names
    contents = {part: Contents() for part in found.parts}
    problems = list(found.problems)
    parts_of: dict[Pair, list[str]] = {}
    for part, pairs in found.parts.items():
        for pair in pairs:
            parts_of.setdefault(pair, []).append(part)
    function = partial(examine, None if found.classes is None else len(names), found.first)
    with closing(in_processes(function, list(parts_of), jobs)) as results:
        for done, examined in enumerate(results, 1):
            problems += examined.problems
            for part in parts_of[examined.pair]:
                contents[part].add(examined.pixels, names)
            progress(done, len(parts_of))
    problems.sort(key=lambda problem: (problem.kind, str(problem.file), problem.message))
    notes = [*_notes(found.classes, contents), *_numbering_notes(found, contents)]
    return CheckReport(found.root, found.classes, contents, problems, notes)


def examine(classes: int | None, first: int, pair: Pair) -> Examined:
    """Decodes a picture and its mask and holds them against each other and `classes` labels, in the
    mask from `first` on."""
    problems: list[DataProblem] = []
    picture_size = mask_size = None
    pixels: dict[int, int] = {}
    try:
        picture_size = read_data_picture(pair.picture).shape[:2]
    except UserError as error:
        problems.append(DataProblem("unreadable picture", pair.picture, str(error)))
    try:
        labels = read_mask(pair.mask)
        mask_size = labels.shape
        pixels = _count(from_zero(labels) if first else labels)
    except UserError as error:
        kind: Kind = "unreadable mask" if pair.mask.exists() else "missing mask"
        hint = "" if pair.mask.exists() else lies_beside(pair.mask)
        problems.append(DataProblem(kind, pair.mask, f"{error}{hint}"))
    if picture_size and mask_size and picture_size != mask_size:
        message = (
            f"mask {pair.mask} is {mask_size[1]} x {mask_size[0]} pixels, its picture "
            f"{pair.picture.name} {picture_size[1]} x {picture_size[0]}"
        )
        problems.append(DataProblem("sizes differ", pair.mask, message))
    problems += _beyond(pixels, classes, first, pair.mask)
    return Examined(pair, tuple(problems), pixels)


def _count(labels: NDArray[np.integer]) -> dict[int, int]:
    if labels.dtype == np.uint8:
        counts = np.bincount(labels.ravel(), minlength=256)
        return {int(label): int(counts[label]) for label in np.flatnonzero(counts)}
    values, counts = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _beyond(
    pixels: Mapping[int, int], classes: int | None, first: int, mask: Path
) -> list[DataProblem]:
    if classes is None:
        return []
    special = special_labels(classes)
    beyond = [n for n in pixels if not 0 <= n < classes and n not in special]
    if not beyond:
        return []
    held = ", ".join(f"{label + first} ({pixels[label]} pixels)" for label in sorted(beyond))
    allowed = " and ".join(f"{label} ({meaning})" for label, meaning in special.items())
    highest = classes - 1 + first
    message = f"mask {mask} holds {held}; {classes} classes allow 0 to {highest}, {allowed}"
    return [DataProblem("label out of range", mask, message)]


def _notes(classes: ClassSet | None, contents: Mapping[str, Contents]) -> list[str]:
    notes = []
    for part, found in contents.items():
        absent = [] if classes is None else [c for c in classes.names if not found.class_pixels[c]]
        if absent and found.pictures and part in LISTED:
            notes.append(f"{part}: no pixel of {some_of(absent)}")
        if found.without_class:
            notes.append(f"{part}: {found.without_class} masks in which no pixel has a class")
    return notes


def _numbering_notes(found: Survey, contents: Mapping[str, Contents]) -> list[str]:
    """What hints that the labels of the masks are shifted against the list of names."""
    if found.classes is None:
        return []
    names = found.classes.names
    beyond = {label for held in contents.values() for label in held.beyond}
    if beyond == {len(names)} and not found.numbering_known:
        option = "data.background (here --background)"
        return [f"labels go up to {len(names)}: {background_advice(option)}"]
    if any(held.class_pixels for held in contents.values()) and not any(
        held.class_pixels[names[-1]] for held in contents.values()
    ):
        meaning = f"{found.first} is read as {names[0]}"
        return [f"no mask holds the last name, {names[-1]}: are labels shifted? {meaning}"]
    return []


def _plain(found: Contents, names: Sequence[str]) -> dict[str, Any]:
    return {
        "pictures": found.pictures,
        "pixels": found.pixels,
        "ignored": found.ignored,
        "unlabelled": found.unlabelled,
        "without_class": found.without_class,
        "classes": {
            name: {"pixels": found.class_pixels[name], "pictures": found.class_pictures[name]}
            for name in names
        },
    }
