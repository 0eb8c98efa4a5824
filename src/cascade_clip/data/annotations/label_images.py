"""Label images: CVAT's "segmentation mask" with its colours, labelme's VOC layout, and PNGs of
indices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cascade_clip.data.annotations.found import Annotated, Found, LabelImage, Part, wrong_format
from cascade_clip.data.folder import LABELME_NAMES
from cascade_clip.data.labels import IGNORE
from cascade_clip.data.pairs import read_mask
from cascade_clip.errors import UserError
from cascade_clip.io.coco import Mask
from cascade_clip.io.find import is_picture
from cascade_clip.io.images import open_picture
from cascade_clip.io.lines import read_lines

COLOURS_FILE = "labelmap.txt"
MASK_FOLDERS = ("SegmentationClassPNG", "SegmentationClass", "masks", "annotations", "labels", ".")
LISTS = "ImageSets/Segmentation"


@dataclass(frozen=True)
class ColourImage:
    """A picture whose colours stand for classes."""

    path: Path
    names: Mapping[int, str]
    """By colour, as 0xRRGGBB."""

    def masks(self) -> Iterator[tuple[str | None, Mask]]:
        with open_picture(self.path, f"mask {self.path}") as image:
            without = np.asarray(image) == IGNORE if image.mode == "P" else None
            rgb = np.asarray(image.convert("RGB")).astype(np.int32)  # (H, W, 3)
        colours = rgb @ np.array([1 << 16, 1 << 8, 1], np.int32)
        if without is not None:  # whatever colour a palette gives to what has no class
            yield None, without
        for colour in np.unique(colours if without is None else colours[~without]):
            place = colours == colour if without is None else (colours == colour) & ~without
            if int(colour) not in self.names:
                raise UserError(
                    f"{self.path} holds the colour #{colour:06x} ({place.sum()} pixels), which "
                    f"{COLOURS_FILE} doesn't list"
                )
            yield self.names[int(colour)], place


@dataclass(frozen=True)
class IndexImage:
    """A palette or grey picture whose numbers stand for classes; 255 is none."""

    path: Path
    names: Mapping[int, str]
    void: frozenset[int] = frozenset()
    """Numbers that are no class either."""

    def masks(self) -> Iterator[tuple[str | None, Mask]]:
        labels = read_mask(self.path)
        for value in map(int, np.unique(labels)):
            place = labels == value
            if value == IGNORE or value in self.void:
                yield None, place
            elif value in self.names:
                yield self.names[value], place
            else:
                raise UserError(
                    f"{self.path} holds {value} ({place.sum()} pixels), but there are names for "
                    f"{min(self.names)} to {max(self.names)}; add it to --void if it is no class"
                )


def read_colours(folder: Path) -> Found:
    """CVAT's "segmentation mask", by `labelmap.txt`. Raises `UserError`."""
    path = folder / COLOURS_FILE
    names: dict[int, str] = {}
    for line in read_lines(path):
        if line.startswith("#"):
            continue
        try:
            name, colour, *_ = line.split(":")
            red, green, blue = map(int, colour.split(","))
        except ValueError as error:
            raise wrong_format(path, "labelmap.txt of CVAT", f"'{line}'") from error
        names[red << 16 | green << 8 | blue] = name
    found = Found("CVAT segmentation mask", path, list(names.values()))
    return _add_images(found, folder, lambda mask: ColourImage(mask, names))


def read_labelme_voc(folder: Path) -> Found:
    """What labelme's `labelme2voc` writes, by `class_names.txt`. Raises `UserError`."""
    path = folder / LABELME_NAMES
    names = [name for name in read_lines(path) if name != "__ignore__"]
    found = Found("labelme's VOC layout", path, names)
    return _add_images(found, folder, lambda mask: IndexImage(mask, dict(enumerate(names))))


def read_indices(folder: Path, names: Sequence[str], first: int, void: frozenset[int]) -> Found:
    """PNGs of indices: `first` stands for the first name, and where that is 1, 0 for the
    background. Raises `UserError`."""
    numbered = dict(enumerate(names, start=first)) | ({0: "background"} if first else {})
    found = Found("index masks", folder, names)
    return _add_images(found, folder, lambda mask: IndexImage(mask, numbered, void))


def mask_folder(folder: Path) -> Path | None:
    """The folder within that holds the masks."""
    places = (folder / name for name in MASK_FOLDERS)
    return next((place for place in places if any(place.glob("*.png"))), None) or next(
        (place for name in MASK_FOLDERS[:-1] if any((place := folder / name).rglob("*.png"))), None
    )


def _add_images(found: Found, folder: Path, image: Callable[[Path], LabelImage]) -> Found:
    masks = mask_folder(folder)
    if masks is None:
        raise UserError(
            f"{folder} holds no masks: no PNG in {', '.join(MASK_FOLDERS[:-1])} or itself"
        )
    parts = _parts(folder)
    for mask in sorted(file for file in masks.rglob("*.png") if is_picture(file)):
        name = mask.relative_to(masks).with_suffix("").as_posix()
        picture = Annotated(name, str(mask), image=image(mask), part=parts.get(name), by_stem=True)
        found.pictures.append(picture)
    return found


def _parts(folder: Path) -> dict[str, Part]:
    """The part of each picture that VOC's lists name."""
    listed: tuple[Part, ...] = ("val", "train")
    parts: dict[str, Part] = {}
    for part in listed:
        path = folder / LISTS / f"{part}.txt"
        parts |= dict.fromkeys(read_lines(path), part) if path.is_file() else {}
    return parts
