"""A user's own pictures and masks in a folder, in a plain layout or that of PASCAL VOC."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cascade_clip.data.classes import ClassSet
from cascade_clip.data.dataset import Sample, Split
from cascade_clip.errors import UserError
from cascade_clip.imageio import PICTURE_SUFFIXES, read_picture
from cascade_clip.training.targets import IGNORE, UNLABELLED

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


class FolderDataset:
    """`images/` + `masks/`, or VOC's `JPEGImages/` + `SegmentationClass/`, and a list of classes.

    - `classes.txt` (one name a line, in label order) or `classes.yaml` (a list of names);
    - `split.yaml`, optional: `unseen: [names]`;
    - masks are palette or grey PNGs named like their picture; 0 is the first class, 255 is ignored,
      254 means unlabelled (in the transductive setting such pixels take pseudo-labels);
    - `train.txt` and `val.txt` (in VOC's layout under `ImageSets/Segmentation`), optional, list
      picture names without ending. Without them one picture in ten, told by its name, is held out.

    All splits but `train` are the pictures of `val.txt`, or those held out.

    Raises `UserError` for missing files, empty lists and bad class names; `__getitem__` also for
    files that can't be read, masks of another size and labels beyond the classes.
    """

    def __init__(self, root: Path, split: Split, length: int | None = None) -> None:
        self.root = root
        self.layout = _layout(root)
        self._classes = read_classes(root)
        self.pictures = _pictures(root, self.layout, split)[:length]
        _check_masks_exist(root / self.layout.masks, self.pictures)

    @property
    def classes(self) -> ClassSet:
        return self._classes

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        picture = self.pictures[index]
        image = torch.from_numpy(read_picture(picture)).permute(2, 0, 1).contiguous()  # (3, H, W)
        mask_path = _mask_path(self.root / self.layout.masks, picture)
        labels = read_mask(mask_path)
        _check_labels(labels, mask_path, len(self._classes.names))
        if labels.shape != tuple(image.shape[1:]):
            raise UserError(
                f"mask {mask_path} is {labels.shape[1]} x {labels.shape[0]} pixels, its picture "
                f"{picture} {image.shape[2]} x {image.shape[1]}; they must have one size"
            )
        return Sample(image, torch.from_numpy(labels), picture.stem)


def read_classes(root: Path) -> ClassSet:
    """Class names and unseen names of a data set folder. Raises `UserError`."""
    paths = [root / name for name in CLASSES_FILES if (root / name).is_file()]
    if not paths:
        raise UserError(f"{root} has no {' or '.join(CLASSES_FILES)}; list its class names there")
    text = _read_text(paths[0])
    if paths[0].suffix == ".txt":
        names = tuple(line.strip() for line in text.splitlines() if line.strip())
    else:
        names = _names(_parse(text, paths[0]), paths[0])
    split = root / SPLIT_FILE
    if not split.is_file():
        return ClassSet(names)
    values = _parse(_read_text(split), split)
    if not isinstance(values, Mapping) or set(values) - {"unseen"}:
        raise UserError(f"{split} must hold one line `unseen: [names]`, got {values!r}")
    unseen = _names(values.get("unseen", []), split)
    return ClassSet(names, unseen)


def read_mask(path: Path) -> NDArray[np.int64]:
    """A mask file (palette or grey PNG) as labels (H, W): the stored indices, not colours.

    Raises `UserError` if the file is missing, can't be decoded or holds colours.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in {"P", "L", "1"} and not image.mode.startswith("I"):
                raise UserError(
                    f"mask {path} holds colours ({image.mode}), expected one index per pixel: save "
                    "it as a palette or grey PNG"
                )
            return np.asarray(image).astype(np.int64)
    except FileNotFoundError as error:
        raise UserError(f"mask {path} is missing") from error
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise UserError(f"mask {path} can't be read: {error}") from error


def _layout(root: Path) -> Layout:
    for layout in (PLAIN, VOC):
        if (root / layout.pictures).is_dir() and (root / layout.masks).is_dir():
            return layout
    raise UserError(
        f"{root} is no data set: expected the folders {PLAIN.pictures}/ and {PLAIN.masks}/, or "
        f"{VOC.pictures}/ and {VOC.masks}/"
    )


def _pictures(root: Path, layout: Layout, split: Split) -> list[Path]:
    folder = root / layout.pictures
    found = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in PICTURE_SUFFIXES}
    kind = "train" if split == "train" else "val"
    lists = {name: root / layout.lists / f"{name}.txt" for name in ("train", "val")}
    if lists[kind].is_file():
        names = _read_text(lists[kind]).split()
        missing = [name for name in names if name not in found]
        if missing:
            raise UserError(f"{lists[kind]} names {missing[0]}, but {folder} holds no such picture")
        source = str(lists[kind])
    elif any(path.is_file() for path in lists.values()):
        raise UserError(f"{lists[kind]} is missing; list the picture names of both splits or none")
    else:
        names = [name for name in found if _is_held_out(name) == (kind == "val")]
        source = f"{folder} (without lists, 1 picture in {HELD_OUT} is held out)"
    if not names:
        raise UserError(f"no {kind} pictures: {source} is empty")
    return [found[name] for name in names]


def _is_held_out(name: str) -> bool:
    return zlib.crc32(name.encode()) % HELD_OUT == 0


def _mask_path(folder: Path, picture: Path) -> Path:
    return folder / f"{picture.stem}.png"


def _check_masks_exist(folder: Path, pictures: list[Path]) -> None:
    missing = [p for p in pictures if not _mask_path(folder, p).is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(pictures)} pictures have no mask, among them "
            f"{_mask_path(folder, missing[0])}"
        )


def _check_labels(labels: NDArray[np.int64], path: Path, classes: int) -> None:
    values = np.unique(labels)
    beyond = [int(v) for v in values if v >= classes and v not in (UNLABELLED, IGNORE)]
    if beyond:
        raise UserError(
            f"mask {path} holds label {beyond[0]}, but {classes} classes allow only 0 to "
            f"{classes - 1}, {UNLABELLED} (unlabelled) and {IGNORE} (ignored)"
        )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read: {error}") from error


def _parse(text: str, path: Path) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error


def _names(values: Any, path: Path) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UserError(f"{path} must hold a list of names, got {values!r}")
    return tuple(values)
