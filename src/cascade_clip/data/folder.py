"""A user's own pictures and masks in a folder, in a plain layout or that of PASCAL VOC."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from cascade_clip.class_names import composed
from cascade_clip.config import Background
from cascade_clip.data.class_lists import (
    OWN_NAMES,
    STANDARD,
    ClassList,
    read_class_list,
    read_splits,
)
from cascade_clip.data.pairs import (
    ListName,
    Pair,
    PairDataset,
    check_count,
    list_of,
    no_calibration,
)
from cascade_clip.data.part import Part
from cascade_clip.errors import UserError
from cascade_clip.io.find import is_picture, is_unread, unread_advice
from cascade_clip.io.lines import read_lines
from cascade_clip.support.messages import notice

CLASSES_FILES = ("classes.txt", "classes.yaml")
LABELME_NAMES = "class_names.txt"
SPLIT_FILE = "split.yaml"
BACKGROUND = "background"
HELD_OUT = 10
"""Without lists, one picture in ten (by its name) is held out of training."""


@dataclass(frozen=True)
class Layout:
    """Where a data set keeps its pictures, its masks and its lists of names."""

    pictures: str
    masks: str
    lists: str


PLAIN = Layout("images", "masks", ".")
VOC = Layout("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")


class FolderDataset(PairDataset):
    """`images/` + `masks/`, or VOC's `JPEGImages/` + `SegmentationClass/`, and a list of classes.

    - `classes.txt` (one name a line, in label order), or `classes.yaml` (a list of names, or also
      splits and synonyms, see `read_class_list`);
    - `split.yaml`, optional: `unseen: [names]`, or several splits by name (see `read_splits`);
    - masks are palette or grey PNGs named like their picture, in the same subfolder; 0 is the first
      class (or the `background`), 255 is ignored, 254 means unlabelled (in the transductive setting
      such pixels take pseudo-labels);
    - `train.txt` and `val.txt` (in VOC's layout under `ImageSets/Segmentation`), optional, list
      pictures as `picture_name` calls them. Without them one picture in ten, chosen by name, is
      held out (see `split_by_name`);
    - `calibration.txt`, optional beside these two, lists the pictures of the part `calibration`.

    `test` is the pictures of `val.txt`, or those held out, as `val` is.

    Raises `UserError` for missing files, empty lists, bad class names, two pictures of one name,
    and the part `calibration` without a list; `__getitem__` also for files that can't be read,
    masks of another size and labels beyond the classes.
    """

    def __init__(
        self,
        root: Path,
        part: Part,
        length: int | None = None,
        *,
        split: str = STANDARD,
        synonyms: bool = False,
        names: str = OWN_NAMES,
        background: Background | None = None,
    ) -> None:
        layout = find_layout(root)
        first = first_label(background)
        classes = read_folder_classes(root, background).class_set(split, synonyms, names)
        check_count(classes, first)
        chosen = _pictures(root, layout, list_of(part))[:length]
        pairs = [Pair(picture, mask_of(root, layout, name)) for name, picture in chosen]
        hint = "" if background else f"; {background_advice('data.background')}"
        super().__init__(pairs, classes, first, hint)


def first_label(background: Background | None) -> Literal[0, 1]:
    """The label of the first class of a `ClassSet` in the masks of a folder."""
    return 1 if background == "ignore" else 0


def background_advice(option: str) -> str:
    """What to do about masks with one label more than there are names."""
    return f"if 0 is the background and 1 the first class, set {option} to ignore or class"


def read_folder_classes(root: Path, background: Background | None = None) -> ClassList:
    """Class names, splits and synonyms of a data set folder; with the background as a `class`, it
    is the first. Raises `UserError`."""
    classes = _read_classes(root)
    if background != "class":
        return classes
    try:
        return replace(classes, names=(BACKGROUND, *classes.names), background=True)
    except UserError as error:
        raise UserError(f"{root}, with the background as a class of its own: {error}") from error


def _read_classes(root: Path) -> ClassList:
    paths = [root / name for name in CLASSES_FILES if (root / name).is_file()]
    if not paths:
        listed = "list its class names there, one a line in the order of the labels, e.g. sky, cat"
        if (root / LABELME_NAMES).is_file():
            listed = (
                f"its {LABELME_NAMES} is labelme's: cascade-clip prepare folder NEW --from {root}"
            )
        raise UserError(f"{root} has no {' or '.join(CLASSES_FILES)}; {listed}")
    if len(paths) > 1:
        raise UserError(f"{root} has {' and '.join(CLASSES_FILES)}; keep one of the two")
    classes = _read_names(paths[0]) if paths[0].suffix == ".txt" else read_class_list(paths[0])
    split = root / SPLIT_FILE
    if not split.is_file():
        return classes
    if any(classes.splits.values()):
        raise UserError(f"{paths[0]} and {split} both name splits; keep them in one of the two")
    splits = read_splits(split)
    try:
        return replace(classes, splits=splits)
    except UserError as error:
        raise UserError(f"{split}: {error}") from error


def _read_names(path: Path) -> ClassList:
    names = read_lines(path)
    if not names:
        raise UserError(f"{path} is empty; list the class names there, one a line, in label order")
    try:
        return ClassList(tuple(map(composed, names)))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def find_layout(root: Path) -> Layout:
    """Where a data set folder keeps its files. Raises `UserError` if it is none."""
    for layout in (PLAIN, VOC):
        if (root / layout.pictures).is_dir() and (root / layout.masks).is_dir():
            return layout
    raise UserError(
        f"{root} is no data set: expected the folders {PLAIN.pictures}/ and {PLAIN.masks}/, or "
        f"{VOC.pictures}/ and {VOC.masks}/"
    )


def list_pictures(folder: Path) -> list[tuple[str, Path]]:
    """The pictures of a data set's folder and its subfolders with their names, sorted."""
    found = sorted(file for file in files_below(folder) if is_picture(file))
    return [(picture_name(folder, file), file) for file in found]


def picture_name(folder: Path, picture: Path) -> str:
    """What lists call a picture: its path below the folder without its ending, `park/7`."""
    return picture.relative_to(folder).with_suffix("").as_posix()


def mask_of(root: Path, layout: Layout, name: str) -> Path:
    """Where the mask of the picture of that name lies."""
    return root / layout.masks / f"{name}.png"


def files_below(folder: Path) -> Iterator[Path]:
    """All files in a folder and its subfolders, those behind links too."""
    for place, _, names in os.walk(folder, followlinks=True):
        yield from (Path(place, name) for name in names)


def list_files(root: Path, layout: Layout) -> dict[ListName, Path]:
    """Where lists of pictures may lie."""
    return {name: root / layout.lists / f"{name}.txt" for name in get_args(ListName)}


def _pictures(root: Path, layout: Layout, kind: ListName) -> list[tuple[str, Path]]:
    folder = root / layout.pictures
    found: dict[str, Path] = {}
    for name, picture in list_pictures(folder):
        if name in found:
            raise UserError(f"{one_name(picture, found[name])}; keep one of the two")
        found[name] = picture
    lists = list_files(root, layout)
    if lists[kind].is_file():
        names = read_lines(lists[kind])
        missing = [name for name in names if name not in found]
        if missing:
            raise UserError(f"{lists[kind]} names {missing[0]}, but {folder} holds no such picture")
        source = str(lists[kind])
    elif kind == "calibration":
        raise no_calibration(lists[kind])
    elif any(path.is_file() for path in lists.values()):
        raise UserError(
            f"{lists[kind]} is missing; list the picture names of both train and val, or neither"
        )
    else:
        if kind == "train" and (unread := sorted(filter(is_unread, files_below(folder)))):
            notice(f"left out: {unread_advice(unread)}")
        trained, held_out = split_by_name([*found])
        names = held_out if kind == "val" else trained
        source = f"{folder} (without lists, 1 picture in {HELD_OUT} is held out)"
    if not names:
        raise UserError(f"no {kind} pictures: {source} is empty")
    return [(name, found[name]) for name in names]


def one_name(picture: Path, other: Path) -> str:
    """That two pictures have one name."""
    return f"{picture} and {other.name} share a name, and so a mask"


def split_by_name(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of the pictures for training and of those held out, where no lists say so.

    A picture's own name (without ending) decides, so that more pictures change nothing for those
    that are there. As long as it would hold out none, that is the first one; and where none is
    left, training takes all of them.
    """
    held_out = [name for name in names if _checksum(name) % HELD_OUT == 0] or [*names[:1]]
    apart = set(held_out)
    return [name for name in names if name not in apart] or [*names], held_out


def _checksum(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "surrogateescape"))
