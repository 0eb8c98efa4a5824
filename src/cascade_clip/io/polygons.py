"""Masks as polygons, and polygons as masks.

Coordinates are those of the picture's surface: a pixel (row, column) covers the square from
(column, row) to (column + 1, row + 1), and is inside a polygon if its centre is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from contourpy import FillType, contour_generator

from cascade_clip.io.coco import Mask

MOVE_TO = 1
"""contourpy's code of a line's first point."""

Ring = list[tuple[float, float]]
"""Corners (x, y) in pixels of a closed line, the first not repeated."""


def outlines(piece: Mask) -> tuple[Ring, ...]:
    """Of one connected piece the outline, then the outlines of its holes, half-way between the
    centres of pixels inside and outside."""
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


def without_holes(rings: Sequence[Ring]) -> Ring:
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


def simplified(ring: Ring, tolerance: float) -> Ring:
    """The corners that keep the line within `tolerance` pixels of all others, by Douglas and
    Peucker; the whole ring if less than a triangle would be left."""
    line = np.array(ring)
    # From the two corners that are farthest apart, as seen from the first.
    far = int(((line - line[0]) ** 2).sum(1).argmax())
    kept = np.zeros(len(line) + 1, dtype=bool)
    kept[[0, far, len(line)]] = True
    closed = np.concatenate([line, line[:1]])
    spans = [(0, far), (far, len(line))]
    while spans:
        start, end = spans.pop()
        if end - start < 2:
            continue
        distances = _distances(closed[start + 1 : end], closed[start], closed[end])
        if distances.max() > tolerance:
            middle = start + 1 + int(distances.argmax())
            kept[middle] = True
            spans += [(start, middle), (middle, end)]
    corners = np.flatnonzero(kept[:-1])
    return [ring[corner] for corner in corners] if len(corners) >= 3 else ring


def _distances(
    points: npt.NDArray[np.float64], start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Of points (N, 2) from the straight piece between two others, (N,)."""
    along = end - start
    length = max(float(along @ along), 1e-12)
    share = np.clip((points - start) @ along / length, 0.0, 1.0)  # (N,)
    offsets = points - start - share[:, None] * along
    return np.sqrt((offsets**2).sum(1))


def fill(ring: Sequence[Sequence[float]], height: int, width: int) -> Mask:
    """The pixels (H, W) whose centres a line around corners (x, y) encloses an odd number of times:
    what it goes around twice, or along and back, is outside. Parts beyond the picture are cut off.
    """
    corners = np.asarray(ring, np.float64)  # (N, 2)
    ends = np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)  # (N, 2, 2): edges
    # From top to bottom, so that an edge and its way back are computed alike.
    down = np.where((ends[:, :1, 1:] > ends[:, 1:, 1:]), ends[:, ::-1], ends)
    x0, y0, x1, y1 = down.reshape(-1, 4).T
    first = np.clip(np.ceil(y0 - 0.5), 0, height).astype(int)
    last = np.clip(np.ceil(y1 - 0.5), 0, height).astype(int)
    crossed = np.maximum(last - first, 0)
    edge = np.repeat(np.arange(len(down)), crossed)
    within = np.arange(len(edge)) - np.repeat(np.cumsum(crossed) - crossed, crossed)
    row = first[edge] + within
    slope = (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
    x = x0[edge] + (row + 0.5 - y0[edge]) * slope
    column = np.clip(np.ceil(x - 0.5), 0, width).astype(int)
    mask = np.zeros((height, width), dtype=bool)
    if len(row):
        top, left = row.min(), column.min()
        turns = np.zeros((row.max() + 1 - top, column.max() + 1 - left), np.int32)
        np.add.at(turns, (row - top, column - left), 1)
        inside = np.cumsum(turns[:, :-1], axis=1) % 2 == 1
        mask[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return mask
