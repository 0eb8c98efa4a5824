"""What annotation tools store of a region, and which pixels it has."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Protocol

import numpy as np

from cascade_clip.errors import UserError
from cascade_clip.io.coco import Mask, from_run_lengths
from cascade_clip.io.images import open_picture
from cascade_clip.io.polygons import fill

FARTHEST = 1e7
"""Pixels: a corner beyond is no corner."""
TOLERANCE = 1.0
"""Pixels that a corner may lie outside of its picture: tools round."""


class Region(Protocol):
    """A part of a picture."""

    def mask(self, height: int, width: int) -> Mask:
        """Its pixels (H, W). Raises `UserError` if it doesn't fit a picture of that size."""
        ...

    def reaches_beyond(self, height: int, width: int) -> bool:
        """Whether a part lies outside of a picture of that size, and is cut off."""
        ...


@dataclass(frozen=True)
class Polygons:
    """What one or more closed lines enclose, each by itself."""

    rings: tuple[tuple[tuple[float, float], ...], ...]
    """Corners (x, y) in pixels, or in shares of the sides if `relative`."""
    relative: bool = False

    def mask(self, height: int, width: int) -> Mask:
        mask = np.zeros((height, width), dtype=bool)
        for ring in self._in_pixels(height, width):
            mask |= fill(ring, height, width)
        return mask

    def reaches_beyond(self, height: int, width: int) -> bool:
        return any(
            not (-TOLERANCE <= x <= width + TOLERANCE and -TOLERANCE <= y <= height + TOLERANCE)
            for ring in self._in_pixels(height, width)
            for x, y in ring
        )

    def _in_pixels(self, height: int, width: int) -> Sequence[Sequence[tuple[float, float]]]:
        if not self.relative:
            return self.rings
        return [[(x * width, y * height) for x, y in ring] for ring in self.rings]


@dataclass(frozen=True)
class Runs:
    """Run lengths down the columns of the whole picture, as COCO counts them."""

    counts: tuple[int, ...]
    size: tuple[int, int]
    """(height, width) they are for."""

    def mask(self, height: int, width: int) -> Mask:
        if self.size != (height, width):
            raise UserError(
                f"run lengths are for {self.size[1]} x {self.size[0]} pixels, the picture has "
                f"{width} x {height}"
            )
        try:
            return from_run_lengths(self.counts, height, width)
        except ValueError as error:
            raise UserError(str(error)) from error

    def reaches_beyond(self, height: int, width: int) -> bool:
        return False


@dataclass(frozen=True)
class Patch:
    """A small mask at a place of the picture."""

    left: int
    top: int
    pixels: Mask

    def mask(self, height: int, width: int) -> Mask:
        whole = np.zeros((height, width), dtype=bool)
        rows = slice(max(self.top, 0), max(self.top + self.pixels.shape[0], 0))
        columns = slice(max(self.left, 0), max(self.left + self.pixels.shape[1], 0))
        there = whole[rows, columns]
        top, left = rows.start - self.top, columns.start - self.left
        there |= self.pixels[top : top + there.shape[0], left : left + there.shape[1]]
        return whole

    def reaches_beyond(self, height: int, width: int) -> bool:
        bottom, right = self.top + self.pixels.shape[0], self.left + self.pixels.shape[1]
        return min(self.top, self.left) < 0 or bottom > height or right > width


def polygon(points: object, relative: bool = False) -> Polygons:
    """A region from one list of corners [[x, y], ...]. Raises `UserError` for fewer than three and
    for what are no numbers."""
    return Polygons((_ring(points),), relative)


def flat_polygons(lists: Sequence[object]) -> Polygons:
    """A region from lists of numbers x, y, x, y, ... Raises `UserError` as `polygon`."""
    return Polygons(tuple(_ring(_in_pairs(numbers)) for numbers in lists))


def rows_of_runs(counts: Sequence[int], left: int, top: int, height: int, width: int) -> Patch:
    """A region from run lengths along the rows of a box, the first of pixels outside.

    Raises `UserError` if they are of another size.
    """
    try:
        pixels = from_run_lengths(counts, width, height).T
    except ValueError as error:
        raise UserError(str(error)) from error
    return Patch(left, top, pixels)


def png_patch(text: str, left: int, top: int) -> Patch:
    """A region from a PNG in base64: its pixels that are not 0. Raises `UserError`."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"its mask is no base64: {error}") from error
    with open_picture(BytesIO(data), "its mask", formats=["PNG"]) as image:
        return Patch(left, top, np.asarray(image.convert("L")) > 0)


def _in_pairs(numbers: object) -> list[list[object]]:
    if not isinstance(numbers, (list, tuple)) or len(numbers) % 2:
        raise UserError("a polygon is a list of an even number of coordinates")
    return [[x, y] for x, y in zip(numbers[::2], numbers[1::2], strict=True)]


def _ring(points: object) -> tuple[tuple[float, float], ...]:
    try:
        corners = np.asarray(points, np.float64)
    except (TypeError, ValueError):
        corners = np.full((1, 1), np.nan)
    if corners.ndim != 2 or corners.shape[1] != 2 or not np.isfinite(corners).all():
        if corners.size:
            raise UserError("a polygon's corners are pairs of numbers")
        corners = corners.reshape(0, 2)
    if np.abs(corners).max(initial=0) > FARTHEST:
        raise UserError(f"a polygon with corners {np.abs(corners).max():.3g} pixels away")
    if len(corners) < 3:
        raise UserError(f"a polygon of {len(corners)} points encloses nothing")
    return tuple((float(x), float(y)) for x, y in corners)
