"""What a data set says it consists of, with everything that is wrong about its lists and names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Literal

from cascade_clip.config import Background, PreparedName
from cascade_clip.data.class_lists import load_class_list
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.folder import (
    Layout,
    files_below,
    find_layout,
    first_label,
    list_files,
    list_pictures,
    mask_of,
    one_name,
    read_folder_classes,
    split_by_name,
)
from cascade_clip.data.labels import UNLABELLED
from cascade_clip.data.pairs import ListName, Pair, check_count
from cascade_clip.data.prepared import (
    PREPARED_NAMES,
    calibration_list,
    prepared_folder,
    read_pairs,
)
from cascade_clip.errors import UserError
from cascade_clip.io.find import is_unread, unread_advice
from cascade_clip.io.lines import read_lines

Kind = Literal[
    "classes", "list", "missing picture", "missing mask", "mask without picture",
    "unreadable picture", "unreadable mask", "sizes differ", "label out of range",
]  # fmt: skip
LISTED: tuple[ListName, ...] = ("train", "val")
USES: dict[ListName, str] = {
    "train": "training",
    "val": "validation",
    "calibration": "calibration",
}
UNLISTED = "unlisted"
"""Pictures with masks in neither list, where there are lists."""


@dataclass(frozen=True)
class DataProblem:
    """Something that training or evaluation would stumble over."""

    kind: Kind
    file: Path
    message: str


@dataclass
class Survey:
    """A data set before its files are opened."""

    root: Path
    classes: ClassSet | None = None
    """With one of their splits; None if the class names are wrong: labels are then not held
    against them."""
    parts: dict[str, list[Pair]] = field(default_factory=dict)
    """Pictures that are there, with the masks they should have; one may be in several parts."""
    problems: list[DataProblem] = field(default_factory=list)
    first: int = 0
    """The label of the first class in the masks; where that is 1, 0 is ignored."""
    numbering_known: bool = True
    """Whether it is said, or part of the format, what the label 0 means."""

    def add(self, kind: Kind, file: Path, message: str) -> None:
        """Notes a problem."""
        self.problems.append(DataProblem(kind, file, message))


def survey(
    root: Path, name: PreparedName | None = None, background: Background | None = None
) -> Survey:
    """The lists and names of a prepared data set below `root`, or of one's own in a folder, whose
    masks have the `background` as label 0.

    Raises `UserError` if there is no such data set at all.
    """
    if not root.is_dir():
        raise UserError(f"no such folder: {root}")
    if name is not None:
        if background is not None:
            raise UserError("what 0 means (--background) is known for prepared data; leave it out")
        return _survey_prepared(root, name)
    prepared = [known for known in PREPARED_NAMES if prepared_folder(root, known).is_dir()]
    if prepared:
        raise UserError(f"{root} holds prepared data; add --name {' or --name '.join(prepared)}")
    return _survey_folder(root, find_layout(root), background)


def _survey_prepared(root: Path, name: PreparedName) -> Survey:
    classes = load_class_list(name).class_set()
    found = Survey(root, classes)
    folder = prepared_folder(root, name)
    if not folder.is_dir():
        read_pairs(root, name, "train")  # raises what to do
    trainable = len(classes.names) <= UNLABELLED
    lists: tuple[ListName, ...] = LISTED if trainable else ("val",)
    if calibration_list(root, name).is_file():
        lists = (*lists, "calibration")
    for part in lists:
        try:
            found.parts[part] = read_pairs(root, name, part)
        except UserError as error:
            found.add("list", folder / f"{part}.txt", str(error))
    _take_out_missing_pictures(found)
    _find_overlaps(found, folder)
    _find_masks_without_picture(found, folder / "masks")
    return found


def _survey_folder(root: Path, layout: Layout, background: Background | None) -> Survey:
    found = Survey(root, first=first_label(background), numbering_known=background is not None)
    try:
        named = read_folder_classes(root, background)
        classes = named.class_set(named.main_split)
        check_count(classes, found.first)
        found.classes = classes
    except UserError as error:
        found.add("classes", root, str(error))
    pairs = _pairs_by_name(found, root, layout)
    for picture in files_below(root / layout.pictures):
        if is_unread(picture):
            found.add("unreadable picture", picture, unread_advice([picture]))
    lists = list_files(root, layout)
    if any(path.is_file() for path in lists.values()):
        for part, path in lists.items():
            if part in LISTED or path.is_file():
                found.parts[part] = list(_listed(found, path, pairs))
        listed = {pair for listed in found.parts.values() for pair in listed}
        others = (pair for pair in pairs.values() if pair not in listed)
        if unlisted := [pair for pair in others if pair.mask.is_file()]:
            found.parts[UNLISTED] = unlisted
        _find_overlaps(found, root / layout.lists)
    else:
        for part, names in zip(LISTED, split_by_name([*pairs]), strict=True):
            found.parts[part] = [pairs[name] for name in names]
    _find_empty(found)
    _find_masks_without_picture(found, root / layout.masks)
    return found


def _pairs_by_name(found: Survey, root: Path, layout: Layout) -> dict[str, Pair]:
    pairs: dict[str, Pair] = {}
    for name, picture in list_pictures(root / layout.pictures):
        if name in pairs:
            found.add("list", picture, one_name(picture, pairs[name].picture))
        pairs[name] = Pair(picture, mask_of(root, layout, name))
    return pairs


def _listed(found: Survey, path: Path, pairs: dict[str, Pair]) -> Iterator[Pair]:
    try:
        names = read_lines(path)
    except UserError as error:
        found.add("list", path, str(error))
        return
    for name, count in Counter(names).items():
        if count > 1:
            found.add("list", path, f"{path} lists {name} {count} times")
        if name in pairs:
            yield pairs[name]
        else:
            found.add("missing picture", path, f"{path} lists {name}, but there is no such picture")


def _take_out_missing_pictures(found: Survey) -> None:
    for part, pairs in found.parts.items():
        for pair in pairs:
            if not pair.picture.is_file():
                found.add("missing picture", pair.picture, f"{pair.picture} is missing")
        found.parts[part] = [pair for pair in pairs if pair.picture.is_file()]


def _find_overlaps(found: Survey, folder: Path) -> None:
    """Pictures to train on, to test on and to choose settings on must not be the same."""
    for one, other in combinations(USES, 2):
        taken = set(found.parts.get(one, ()))
        for pair in found.parts.get(other, ()):
            if pair in taken:
                message = f"{pair.picture.stem} is listed for {USES[one]} and for {USES[other]}"
                found.add("list", folder / f"{other}.txt", message)


def _find_empty(found: Survey) -> None:
    for part, pairs in found.parts.items():
        if not pairs:
            found.add("list", found.root, f"{found.root} has no {part} pictures")


def _find_masks_without_picture(found: Survey, folder: Path) -> None:
    wanted = {pair.mask for pairs in found.parts.values() for pair in pairs}
    for mask in _masks(folder):
        if mask not in wanted:
            found.add("mask without picture", mask, f"{mask} belongs to no picture")


def _masks(folder: Path) -> Iterable[Path]:
    masks = (path for path in files_below(folder) if path.suffix == ".png")
    return sorted(path for path in masks if not path.name.startswith("."))
