"""One picture's annotations as a mask."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cascade_clip.data.annotations.found import Annotated
from cascade_clip.data.annotations.naming import Naming
from cascade_clip.data.labels import IGNORE
from cascade_clip.data.prepare.masks import upright_size, write_mask
from cascade_clip.errors import UserError
from cascade_clip.io.coco import Mask
from cascade_clip.io.files import link_or_copy

Placement = Literal["copy", "link"]


@dataclass(frozen=True)
class Task:
    """A picture and what is annotated in it."""

    name: str
    """Its path in the new folder."""
    picture: Path
    annotated: Annotated


@dataclass(frozen=True)
class Painter:
    """What is the same for all pictures."""

    naming: Naming
    ordered: bool
    """Whether later regions lie on top; else smaller ones do."""
    pictures: Path
    masks: Path
    """Folders that are written to."""
    placement: Placement


@dataclass
class Painted:
    """What became of a picture."""

    task: Task
    problem: str = ""
    """Why it was left out."""
    empty: bool = False
    """Whether it was left out because nothing is annotated in it."""
    pixels: Counter[int] = field(default_factory=Counter)
    """By label."""
    overlapping: int = 0
    """Pixels that regions of two classes claim."""
    copied: int = 0
    """Bytes that were copied because the picture could not be linked."""
    beyond: list[str] = field(default_factory=list)
    """Regions that reach beyond the picture and were cut off."""


class _Piece(NamedTuple):
    """The pixels of a region within their box."""

    label: int
    rows: slice
    columns: slice
    pixels: Mask


def paint(painter: Painter, task: Task) -> Painted:
    """Writes the mask and the picture; a picture whose annotations don't fit it is left out.

    Raises `UserError` if files can't be written; everything else is part of the outcome.
    """
    painted = Painted(task)
    try:
        size = upright_size(task.picture)
        _check_size(task, size)
        labels = _labels(painter, task.annotated, size, painted)
    except UserError as error:
        painted.problem = str(error)
        return painted
    values, counts = np.unique(labels, return_counts=True)
    painted.pixels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    if set(painted.pixels) <= {painter.naming.uncovered} and painter.naming.uncovered:
        painted.empty = True
        return painted
    mask = painter.masks / Path(task.name).with_suffix("")
    write_mask(mask.with_name(f"{mask.name}.png"), labels, painter.naming.classes)
    painted.copied = _place(task.picture, painter.pictures / task.name, painter.placement)
    return painted


def _check_size(task: Task, size: tuple[int, int]) -> None:
    said = task.annotated.size
    if said is None or said == size:
        return
    turned = "; it was annotated as it is stored, not as it is shown" if said == size[::-1] else ""
    raise UserError(
        f"{task.annotated.entry} is for {said[1]} x {said[0]} pixels, its picture {task.picture} "
        f"has {size[1]} x {size[0]}{turned}"
    )


def _labels(
    painter: Painter, annotated: Annotated, size: tuple[int, int], painted: Painted
) -> NDArray[np.uint8]:
    """(H, W)"""
    naming = painter.naming
    labels = np.full(size, naming.uncovered, np.uint8)
    if annotated.image is not None:
        for name, mask in annotated.image.masks():
            if mask.shape != size:
                raise UserError(
                    f"{annotated.image.path} is {mask.shape[1]} x {mask.shape[0]} pixels, its "
                    f"picture {painted.task.picture} {size[1]} x {size[0]}"
                )
            labels[mask] = IGNORE if name is None else naming.labels[name]
        return labels
    pieces = [*_pieces(naming, annotated, size, painted)]
    if not painter.ordered:
        pieces.sort(key=lambda piece: -int(piece.pixels.sum()))
    claimed = np.zeros(size, dtype=bool)
    for piece in pieces:
        below, taken = labels[piece.rows, piece.columns], claimed[piece.rows, piece.columns]
        painted.overlapping += int((taken & piece.pixels & (below != piece.label)).sum())
        below[piece.pixels] = piece.label
        taken |= piece.pixels
    return labels


def _pieces(
    naming: Naming, annotated: Annotated, size: tuple[int, int], painted: Painted
) -> Iterator[_Piece]:
    """The regions from below to the top, as far as the format has an order."""
    for one in sorted(annotated.annotations, key=lambda annotation: annotation.z):
        try:
            mask = one.region.mask(*size)
        except UserError as error:
            raise UserError(f"{one.entry}: {error}") from error
        if one.region.reaches_beyond(*size):
            painted.beyond.append(one.entry)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            yield _Piece(naming.labels[one.label], *box, mask[box].copy())


def _place(picture: Path, target: Path, placement: Placement) -> int:
    """How many bytes were copied in the place of a link."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if placement == "link":
            return link_or_copy(picture.resolve(), target)
        shutil.copyfile(picture, target)
    except OSError as error:
        raise UserError(f"can't write {target}: {error.strerror or error}") from error
    return 0
