"""One picture's mask: made from its annotation, and held against its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from cascade_clip.data.labels import IGNORE, ignored_label
from cascade_clip.data.pairs import read_mask
from cascade_clip.data.prepare.plan import UNKNOWN, Entry, LabelTable
from cascade_clip.errors import UserError
from cascade_clip.io.files import write_whole
from cascade_clip.io.images import open_picture
from cascade_clip.io.palette import IGNORED, RGB, class_colours


@dataclass(frozen=True)
class MaskWriter:
    """What is the same for all masks of a data set."""

    folder: Path
    table: LabelTable
    names: tuple[str, ...]

    def mask(self, entry: Entry) -> Path:
        """Where the mask lies."""
        return self.folder / f"{entry.name}.png"


@dataclass(frozen=True)
class MaskResult:
    """What became of the entry of that name; `problem` is empty if its mask is sound."""

    name: str
    problem: str = ""


def check(writer: MaskWriter, entry: Entry) -> MaskResult:
    """Reads a mask that is there: it must be whole, of its picture's size and without a label
    beyond the classes."""
    mask = writer.mask(entry)
    try:
        labels = read_mask(mask)
        height, width = upright_size(entry.picture)
    except UserError as error:
        return MaskResult(entry.name, str(error))
    if labels.shape != (height, width):
        made = f"{labels.shape[1]} x {labels.shape[0]}"
        wanted = f"its picture {entry.picture} {width} x {height}"
        return MaskResult(entry.name, f"{entry.annotation.path} is {made} pixels, {wanted}")
    classes = len(writer.names)
    beyond = labels[(labels >= classes) & (labels != ignored_label(classes))]
    return MaskResult(entry.name, f"{mask} holds label {beyond[0]}" if beyond.size else "")


def make(writer: MaskWriter, entry: Entry) -> MaskResult:
    """Writes the mask and reads it back; one that isn't sound does not stay.

    Raises `UserError` if the mask can't be written; everything else is part of the outcome.
    """
    try:
        labels = _labels(entry, writer.table)
    except UserError as error:
        return MaskResult(entry.name, str(error))
    mask = write_mask(writer.mask(entry), labels, writer.names)
    outcome = check(writer, entry)
    if outcome.problem:
        mask.unlink()
    return outcome


def _labels(entry: Entry, table: LabelTable) -> NDArray[np.unsignedinteger]:
    """(H, W), in 16 bits if there are more classes than fit in 8."""
    raw = entry.annotation.read()
    unknown = (raw < 0) | (raw >= len(table))
    if not unknown.any():
        labels = table[raw]
        unknown = labels == UNKNOWN
        if not unknown.any():
            return labels.astype(np.uint8 if table.max() <= IGNORE else np.uint16)
    raise UserError(
        f"{entry.annotation.path} holds the value {raw[unknown][0]}, which this data set doesn't "
        "use: is it the owner's file?"
    )


def write_mask(path: Path, labels: NDArray[np.unsignedinteger], names: Sequence[str]) -> Path:
    """Writes labels (H, W) as a PNG; those of 8 bits with the colours of the classes.

    Raises `UserError` if that can't be done.
    """
    image = Image.fromarray(labels)
    if labels.dtype == np.uint8:
        image.putpalette(_palette(class_colours(names)))
    return write_whole(path, image.save)


def _palette(colours: list[RGB]) -> bytes:
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = colours
    table[IGNORE] = IGNORED
    return table.tobytes()


def upright_size(path: Path) -> tuple[int, int]:
    """Height and width as a picture is shown, from its header."""
    with open_picture(path, str(path)) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return (image.width, image.height) if turned else (image.height, image.width)
