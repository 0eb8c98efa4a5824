"""Pictures with index masks on disk: what data sets of files have in common."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from cascade_clip.data.classes import ClassSet
from cascade_clip.data.labels import IGNORE, UNLABELLED, WIDE_IGNORE, ignored_label, special_labels
from cascade_clip.data.part import Part
from cascade_clip.data.samples import Sample
from cascade_clip.errors import UserError
from cascade_clip.io.find import PICTURE_SUFFIXES
from cascade_clip.io.images import RGBArray, open_picture, read_picture

MOST_ELONGATED = 100
"""How many times as long as wide a picture of a data set may be: all are scaled by their short
side, which would blow up a longer one."""

ListName = Literal["train", "val", "calibration"]
"""A data set of files has a list of each of these names, `calibration.txt` only if wanted."""


class Pair(NamedTuple):
    """A picture file and its mask file."""

    picture: Path
    mask: Path


class PairDataset:
    """Pictures with masks of the same size. Labels are uint8: 0 to C - 1, `UNLABELLED`, `IGNORE`;
    with more classes than that int32: 0 to C - 1, `WIDE_IGNORE`.

    The first class has the label `first` in the masks; where that is 1, 0 is ignored. `hint` is
    what to say of a mask with one label more than there are classes.

    Raises `UserError` if files are missing; `__getitem__` also for files that can't be read, masks
    of another size and labels beyond the classes.
    """

    def __init__(
        self, pairs: Sequence[Pair], classes: ClassSet, first: Literal[0, 1] = 0, hint: str = ""
    ) -> None:
        self.pairs = pairs
        self.first = first
        self._hint = hint
        self._classes = classes
        _check_exist([pair.picture for pair in pairs], "picture files are missing")
        _check_exist([pair.mask for pair in pairs], "pictures have no mask")

    @property
    def classes(self) -> ClassSet:
        return self._classes

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        picture, mask = self.pairs[index]
        # (3, H, W), but laid out as decoded: resizing is quickest so.
        image = torch.from_numpy(read_data_picture(picture)).permute(2, 0, 1)
        labels = read_mask(mask)
        self._check_labels(labels, mask)
        if self.first:
            labels = from_zero(labels)
        if labels.shape != tuple(image.shape[1:]):
            raise UserError(
                f"mask {mask} is {labels.shape[1]} x {labels.shape[0]} pixels, its picture "
                f"{picture} {image.shape[2]} x {image.shape[1]}; they must have one size"
            )
        wide = ignored_label(len(self._classes.names)) == WIDE_IGNORE
        labels = labels.astype(np.int32 if wide else np.uint8)
        return Sample(image, torch.from_numpy(labels), picture.stem)

    def _check_labels(self, labels: NDArray[np.integer], mask: Path) -> None:
        classes = len(self._classes.names)
        special = special_labels(classes)
        highest = classes - 1 + self.first
        known = (labels >= 0) & (labels <= highest) | np.isin(labels, list(special))
        if not known.all():
            allowed = " and ".join(f"{label} ({meaning})" for label, meaning in special.items())
            lowest = labels[~known].min()
            hint = self._hint if lowest == labels[~known].max() == highest + 1 else ""
            raise UserError(
                f"mask {mask} holds label {lowest}, but {classes} classes allow only "
                f"0 to {highest}, {allowed}{hint}"
            )


def from_zero(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """Labels of a mask in which 0 is the background and 1 the first class, as data sets have them:
    0 is ignored, all others but the two special ones are one lower."""
    special = (labels == UNLABELLED) | (labels == IGNORE)
    return np.where(labels == 0, IGNORE, np.where(special, labels, labels - 1))


def check_count(classes: ClassSet, first: int = 0) -> None:
    """Raises `UserError` if labels of these classes, from `first` on, and the two special ones
    don't fit in a byte."""
    most = UNLABELLED - first
    if len(classes.names) > most:
        raise UserError(
            f"{len(classes.names)} classes; data sets of files have at most {most}, but for "
            f"evaluation alone, as label {UNLABELLED} means unlabelled and {IGNORE} ignored: merge "
            "or leave out some, and number the labels of the masks anew"
        )


def read_data_picture(path: Path) -> RGBArray:
    """A picture (H, W, 3) of a data set.

    Raises `UserError` if it can't be read or is longer than `MOST_ELONGATED` times its width.
    """
    picture = read_picture(path)
    height, width = picture.shape[:2]
    if max(height, width) > MOST_ELONGATED * min(height, width):
        raise UserError(
            f"{path} is {width:,} x {height:,} pixels; a data set's pictures are at most "
            f"{MOST_ELONGATED} times as long as wide: cut it into pieces or leave it out"
        )
    return picture


def read_mask(path: Path) -> NDArray[np.integer]:
    """A mask file (palette or grey PNG) as labels (H, W): the stored indices, not colours.

    Raises `UserError` if the file is missing, can't be decoded or holds colours.
    """
    with open_picture(path, f"mask {path}") as image:
        if image.mode not in {"P", "L", "1"} and not image.mode.startswith("I"):
            raise UserError(
                f"mask {path} holds colours ({image.mode}), expected one index per pixel: save it "
                "as a palette or grey PNG"
            )
        labels = np.array(image)
        return labels.astype(np.uint8) if labels.dtype == bool else labels


def list_of(part: Part) -> ListName:
    """The list that holds the pictures of a part: files have no test pictures besides `val`."""
    return "val" if part == "test" else part


def no_calibration(path: Path) -> UserError:
    """That there is no list of calibration pictures, which would lie at `path`."""
    return UserError(
        "this data has no part 'calibration', only the picture book draws one; take test or val, "
        f"or list pictures that are in neither of train.txt and val.txt in {path}"
    )


def lies_beside(mask: Path) -> str:
    """The end of a message about a mask that is missing: what lies beside it under its name."""
    for suffix in (".PNG", ".Png", ".npy", ".npz", *sorted(PICTURE_SUFFIXES - {".png"})):
        for there in (
            mask.with_name(mask.stem + suffix),
            mask.with_name(mask.stem + suffix.upper()),
        ):
            if there.is_file():
                wanted = "rename it" if suffix.lower() == ".png" else "save its labels as a PNG"
                return f"; {there.name} lies beside it: {wanted}"
    return ""


def _check_exist(paths: Iterable[Path], what: str) -> None:
    """Lists each folder once: much quicker than asking for every file on a network disk."""
    places = [os.path.split(path) for path in paths]
    there = {folder: _names_in(folder) for folder in {folder for folder, _ in places}}
    missing = [Path(folder, name) for folder, name in places if name not in there[folder]]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(places)} {what}, among them {missing[0]}"
            f"{lies_beside(missing[0])}; list all with `cascade-clip check`"
        )


def _names_in(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
