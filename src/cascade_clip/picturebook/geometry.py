"""Outlines as polygons: float arrays (N, 2) of x (right) and y (down)."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Corners = Sequence[tuple[float, float]] | Points


@lru_cache(maxsize=64)
def _unit_circle(count: int) -> Points:
    angle = np.arange(count) * (2.0 * np.pi / count)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@lru_cache(maxsize=16)
def _spline_basis(steps: int) -> Points:
    t = (np.arange(steps) / steps)[:, None]
    return 0.5 * np.concatenate(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2],
        axis=1,
    )  # (steps, 4)


@lru_cache(maxsize=16)
def _bezier_basis(steps: int) -> Points:
    t = np.linspace(0.0, 1.0, steps)[:, None]
    return np.concatenate([(1 - t) ** 2, 2 * t * (1 - t), t**2], axis=1)  # (steps, 3)


@lru_cache(maxsize=256)
def _unit_arc(start: float, stop: float) -> Points:
    angle = np.linspace(np.radians(start), np.radians(stop), max(6, int(abs(stop - start) / 10)))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


@lru_cache(maxsize=256)
def _ramp(count: int, end: float) -> Points:
    return np.linspace(1.0, end, count)[:, None]


def disc(x: float, y: float, rx: float, ry: float | None = None, turn: float = 0.0) -> Points:
    """Ellipse with half axes ``rx``, ``ry``, turned by ``turn`` radians."""
    ry = rx if ry is None else ry
    count = 16 if max(rx, ry) < 0.12 else 32 if max(rx, ry) < 0.45 else 56
    points = _unit_circle(count) * (rx, ry)
    return (rotate(points, turn) if turn else points) + (x, y)


def box(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> Points:
    """Rectangle, with rounded corners if ``radius`` > 0."""
    corners = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    return rounded(corners, radius) if radius else np.array(corners)


def rounded(corners: Corners, radius: float, steps: int = 6) -> Points:
    """Polygon whose corners are replaced by curves that start ``radius`` before them."""
    here = np.asarray(corners, dtype=np.float64)
    ahead = np.concatenate([here[1:], here[:1]]) - here
    length = np.sqrt((ahead * ahead).sum(axis=1, keepdims=True))
    cut = np.minimum(radius / np.maximum(length, 1e-9), 0.5)
    leave = here + ahead * cut
    arrive = here - np.concatenate([ahead[-1:] * cut[-1:], ahead[:-1] * cut[:-1]])
    control = np.empty((len(here), 3, 2))
    control[:, 0], control[:, 1], control[:, 2] = arrive, here, leave
    return (_bezier_basis(steps) @ control).reshape(-1, 2)  # (N * steps, 2)


def smooth(knots: Corners, steps: int = 7) -> Points:
    """Closed curve through the knots (uniform Catmull-Rom spline)."""
    p = np.asarray(knots, dtype=np.float64)
    ring = np.concatenate([p[-1:], p, p[:2]])
    control = np.empty((len(p), 4, 2))
    for k in range(4):
        control[:, k] = ring[k : k + len(p)]
    return (_spline_basis(steps) @ control).reshape(-1, 2)  # (N * steps, 2)


def curve(knots: Corners, steps: int = 6) -> Points:
    """Open curve through the knots, ends included."""
    p = np.asarray(knots, dtype=np.float64)
    chain = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    control = np.empty((len(p) - 1, 4, 2))
    for k in range(4):
        control[:, k] = chain[k : k + len(p) - 1]
    line = (_spline_basis(steps) @ control).reshape(-1, 2)
    return np.concatenate([line, p[-1:]])


def arc(x: float, y: float, rx: float, ry: float, start: float, stop: float) -> Points:
    """Open elliptic arc from angle ``start`` to ``stop`` (degrees, clockwise as y points down)."""
    return _unit_arc(start, stop) * (rx, ry) + (x, y)


def stroke(line: Corners, width: float, taper: float = 1.0) -> Points:
    """Outline of a brush stroke along an open line; its end is ``taper`` times as wide."""
    p = np.asarray(line, dtype=np.float64)
    count = len(p)
    along = np.empty((count, 2))
    along[0] = p[1] - p[0]
    along[-1] = p[-1] - p[-2]
    along[1:-1] = p[2:] - p[:-2]
    half = 0.5 * width * _ramp(count, taper)
    along *= half / np.maximum(np.sqrt(np.einsum("ij,ij->i", along, along))[:, None], 1e-9)
    side = along[:, ::-1] * (-1.0, 1.0)
    outline = np.empty((2 * count + 4, 2))
    outline[:count] = p + side
    outline[count] = p[-1] + 0.65 * side[-1] + 0.75 * along[-1]
    outline[count + 1] = p[-1] - 0.65 * side[-1] + 0.75 * along[-1]
    outline[count + 2 : -2] = (p - side)[::-1]
    outline[-2] = p[0] - 0.65 * side[0] - 0.75 * along[0]
    outline[-1] = p[0] + 0.65 * side[0] - 0.75 * along[0]
    return outline


def rotate(points: Points, angle: float) -> Points:
    """Turned about the origin by ``angle`` radians."""
    c, s = np.cos(angle), np.sin(angle)
    turned: Points = points @ np.array([[c, s], [-s, c]])
    return turned


def towards(points: Points, x: float, y: float, share: float) -> Points:
    """Shrunk about (x, y) to ``share`` of its size.

    A shape that is seen whole from (x, y) contains the result, so a lighter copy pulled towards
    the light leaves a crescent of shade.
    """
    centre = np.array((x, y))
    pulled: Points = centre + (points - centre) * share
    return pulled


def grown(points: Points, lengths: NDArray[np.int64], width: float) -> Points:
    """Several closed polygons, one after the other, each pushed outwards by ``width``.

    ``points`` is (sum of lengths, 2). Sharp corners are mitred up to about twice the width.
    """
    first = np.cumsum(lengths) - lengths
    ahead = np.arange(1, len(points) + 1)
    ahead[first + lengths - 1] = first
    behind = np.arange(-1, len(points) - 1)
    behind[first] = first + lengths - 1
    edge = points[ahead] - points
    cross = points[:, 0] * points[ahead, 1] - points[:, 1] * points[ahead, 0]
    turn = np.where(np.add.reduceat(cross, first) >= 0.0, 1.0, -1.0)
    edge /= np.maximum(np.sqrt((edge * edge).sum(axis=1, keepdims=True)), 1e-9)
    normal = np.stack([edge[:, 1], -edge[:, 0]], axis=1) * np.repeat(turn, lengths)[:, None]
    back = normal[behind]
    mitre = np.maximum(1.0 + (normal * back).sum(axis=1, keepdims=True), 0.55)
    pushed: Points = points + (normal + back) * (width / mitre)
    return pushed
