"""Parts of a segmented picture: its classes, and their connected pieces."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from contourpy import FillType, contour_generator
from scipy import ndimage

from cascade_clip.io import coco
from cascade_clip.segmentation import Segmentation

MOVE_TO = 1
"""contourpy's code of a line's first point."""

Ring = list[tuple[float, float]]
"""Corners (x, y) in pixels of a closed line, the first not repeated."""


@dataclass(frozen=True)
class Segment:
    """A class of a picture, or one connected piece of it."""

    label: int
    """Index of its class."""
    confidence: float
    """Mean score of its pixels, 0..1."""
    area: int
    """Pixels."""
    bbox: tuple[int, int, int, int]
    """left, top, width, height in pixels."""
    rle: coco.RLE
    """Its mask, exact."""

    def annotation(self) -> dict[str, Any]:
        """It as a COCO annotation without ids, with its `score`."""
        found = coco.annotation(self.label, self.rle, self.area, self.bbox)
        return found | {"score": round(self.confidence, 4)}

    @cached_property
    def rings(self) -> tuple[Ring, ...]:
        """Of a connected piece the outline, then the outlines of its holes, half-way between the
        centres of pixels inside and outside."""
        return _outlines(coco.decode_mask(self.rle))


def class_segments(result: Segmentation) -> list[Segment]:
    """One segment for each class with any pixel. `result` must carry its confidence."""
    assert result.confidence is not None
    segments = []
    for label in (int(label) for label in np.unique(result.labels) if label >= 0):
        mask = result.labels == label
        score = float(result.confidence[mask].astype(np.float32).mean())
        left, top, width, height = coco.bounding_box(mask)
        box = (left, top, width, height)
        segments.append(Segment(label, score, int(mask.sum()), box, coco.encode_mask(mask)))
    return segments


def find_segments(result: Segmentation, min_area: int) -> list[Segment]:
    """The pieces of at least `min_area` pixels, of all classes; background is none.

    `result` must carry its confidence.
    """
    confidence = result.confidence
    assert confidence is not None
    segments = []
    for index in range(len(result.legend)):
        numbered, _ = ndimage.label(result.labels == index)
        areas = np.bincount(numbered.ravel())
        for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), start=1):
            if areas[number] < min_area:
                continue
            piece = numbered[rows, columns] == number
            top, left = rows.start, columns.start
            scores = confidence[rows, columns][piece].astype(np.float32)
            segments.append(
                Segment(
                    label=index,
                    confidence=float(scores.mean()),
                    area=int(areas[number]),
                    bbox=(left, top, piece.shape[1], piece.shape[0]),
                    rle=_encode(piece, top, left, result.labels.shape),
                )
            )
    return segments


def _encode(piece: coco.Mask, top: int, left: int, picture: tuple[int, ...]) -> coco.RLE:
    """The run-length code of a piece that lies at (top, left) in a picture (H, W), from its own
    columns alone."""
    height, width = picture
    columns = np.zeros((height, piece.shape[1]), dtype=bool)
    columns[top : top + piece.shape[0]] = piece
    counts = coco.run_lengths(columns)
    counts[0] += left * height
    if behind := (width - left - columns.shape[1]) * height:
        if len(counts) % 2:  # ends outside the piece
            counts[-1] += behind
        else:
            counts.append(behind)
    return {"size": [height, width], "counts": coco.compress(counts)}


def _outlines(piece: coco.Mask) -> tuple[Ring, ...]:
    padded = np.pad(piece.astype(np.float64), 1)
    generator = contour_generator(z=padded, fill_type=FillType.OuterCode)
    lines = generator.filled(0.5, np.inf)
    (points,), (codes,) = lines[0], lines[1]  # one piece is one polygon with holes
    assert points is not None and codes is not None
    starts = [*np.flatnonzero(codes == MOVE_TO), len(points)]
    # The padding shifts by one pixel; pixel centres lie at + 0.5.
    return tuple(_ring(points[a:b] - 0.5) for a, b in pairwise(starts))


def _ring(closed: npt.NDArray[np.float64]) -> Ring:
    """The corners of a closed line, without points on straight parts."""
    line = closed[:-1]
    before, after = line - np.roll(line, 1, axis=0), np.roll(line, -1, axis=0) - line
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return [(float(x), float(y)) for x, y in line[turns]]


def without_holes(rings: tuple[Ring, ...]) -> Ring:
    """One ring for formats that know no holes: each hole is joined to the outline by a cut of no
    width, at the pair of corners nearest to each other."""
    joined = list(rings[0])
    for hole in rings[1:]:
        outer, inner = np.array(joined), np.array(hole)
        distances = ((outer[:, None] - inner[None]) ** 2).sum(-1)  # (outer, inner)
        at, start = np.unravel_index(distances.argmin(), distances.shape)
        turned = [*hole[start:], *hole[: start + 1]]
        joined = [*joined[: at + 1], *turned, *joined[at:]]
    return joined
