"""A user's own pictures and masks in a folder, in a plain layout or that of PASCAL VOC."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from cascade_clip.class_names import composed
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
from cascade_clip.io.find import is_picture
from cascade_clip.io.lines import read_lines

CLASSES_FILES = ("classes.txt", "classes.yaml")
SPLIT_FILE = "split.yaml"
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
    - masks are palette or grey PNGs named like their picture; 0 is the first class, 255 is ignored,
      254 means unlabelled (in the transductive setting such pixels take pseudo-labels);
    - `train.txt` and `val.txt` (in VOC's layout under `ImageSets/Segmentation`), optional, list
      picture names without ending. Without them one picture in ten, chosen by name, is held out;
    - `calibration.txt`, optional beside these two, lists the pictures of the part `calibration`.

    `test` is the pictures of `val.txt`, or those held out, as `val` is.

    Raises `UserError` for missing files, empty lists, bad class names, and the part `calibration`
    without a list; `__getitem__` also for files that can't be read, masks of another size and
    labels beyond the classes.
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
    ) -> None:
        layout = find_layout(root)
        classes = read_folder_classes(root).class_set(split, synonyms, names)
        check_count(classes)
        pictures = _pictures(root, layout, list_of(part))[:length]
        masks = root / layout.masks
        super().__init__([Pair(p, masks / f"{p.stem}.png") for p in pictures], classes)


def read_folder_classes(root: Path) -> ClassList:
    """Class names, splits and synonyms of a data set folder. Raises `UserError`."""
    paths = [root / name for name in CLASSES_FILES if (root / name).is_file()]
    if not paths:
        raise UserError(f"{root} has no {' or '.join(CLASSES_FILES)}; list its class names there")
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


def list_pictures(folder: Path) -> list[Path]:
    """The picture files of a data set's folder, by name."""
    return sorted(file for file in folder.iterdir() if is_picture(file))


def list_files(root: Path, layout: Layout) -> dict[ListName, Path]:
    """Where lists of pictures may lie."""
    return {name: root / layout.lists / f"{name}.txt" for name in get_args(ListName)}


def _pictures(root: Path, layout: Layout, kind: ListName) -> list[Path]:
    folder = root / layout.pictures
    found = {picture.stem: picture for picture in list_pictures(folder)}
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
        names = [name for name in found if is_held_out(name) == (kind == "val")]
        source = f"{folder} (without lists, 1 picture in {HELD_OUT} is held out)"
    if not names:
        raise UserError(f"no {kind} pictures: {source} is empty")
    return [found[name] for name in names]


def is_held_out(name: str) -> bool:
    """Whether, without lists, a picture of that name (without ending) is for validation."""
    return zlib.crc32(name.encode("utf-8", "surrogateescape")) % HELD_OUT == 0
