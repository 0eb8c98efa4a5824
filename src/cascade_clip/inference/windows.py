"""At which size a picture goes through the network, and where its windows lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from cascade_clip.config import InferenceSettings
from cascade_clip.ops.images import scaled_size

Size = tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """Where the windows of one picture lie: all of one `size` (height, width), in pixels."""

    size: Size
    origins: tuple[tuple[int, int], ...]
    """(top, left) of each window, row by row."""


@dataclass(frozen=True)
class InferencePlan:
    """How pictures of one size go through the network."""

    size: Size
    """(height, width) to which they are scaled for it."""
    windows: Windows
    note: str | None
    """What a user should know about it."""


@lru_cache(256)
def plan_picture(
    picture: Size, settings: InferenceSettings, patch_size: Size, max_windows: int
) -> InferencePlan:
    """The plan for pictures of a size (height, width), which are shrunk until they fit into
    `max_windows` windows."""
    height, width = scaled_size(picture, settings.short_side, settings.long_side)
    wanted = (height, width)

    def windows_of(size: Size) -> Windows:
        return windows(size, settings.crop, settings.stride, settings.shifts, patch_size)

    def fits(size: Size) -> bool:
        regular = [windows_along(side, settings.crop, settings.stride) for side in size]
        # Very long pictures are not worth a list of all their windows.
        return math.prod(regular) <= max_windows and len(windows_of(size).origins) <= max_windows

    size = wanted if fits(wanted) else _largest(wanted, fits)
    note = None
    if size != wanted:
        note = (
            f"a picture of {picture[1]} x {picture[0]} pixels would take more than {max_windows} "
            f"windows; it is shrunk to {size[1]} x {size[0]} instead of {wanted[1]} x {wanted[0]} "
            "for the network"
        )
    return InferencePlan(size, windows_of(size), note)


def _largest(wanted: Size, fits: Callable[[Size], bool]) -> Size:
    """The largest size of `wanted`'s shape that fits; a single pixel always does."""

    def scaled(long_side: int) -> Size:
        height, width = (side * long_side // max(wanted) for side in wanted)
        return max(1, height), max(1, width)

    fitting, too_long = 1, max(wanted)
    while too_long - fitting > 1:
        long_side = (fitting + too_long) // 2
        if fits(scaled(long_side)):
            fitting = long_side
        else:
            too_long = long_side
    return scaled(fitting)


def windows(
    picture: Size, crop: int, stride: int, shifts: int = 1, patch: Size = (1, 1)
) -> Windows:
    """Windows of side `crop` every `stride` pixels; the last ones are moved back inside.

    There are `windows_along` each side. A side shorter than the crop gets one window of its own
    length. Every pixel lies in at least one window.

    With `shifts` above 1 each window is repeated 1/shifts, 2/shifts... of a patch further down and
    right, as far as the picture has room.

    Raises:
        ValueError: unless 1 <= stride <= crop, shifts >= 1 and the picture has pixels.
    """
    if not 1 <= stride <= crop:
        raise ValueError(f"stride must lie in 1..crop ({crop}), got {stride}")
    if min(picture) < 1:
        raise ValueError(f"the picture has no pixels: {picture[0]} x {picture[1]}")
    if shifts < 1:
        raise ValueError(f"shifts must be at least 1, got {shifts}")
    tops, lefts = (
        _starts(side, crop, stride, [length * step // shifts for step in range(shifts)])
        for side, length in zip(picture, patch, strict=True)
    )
    size = (min(crop, picture[0]), min(crop, picture[1]))
    return Windows(size, tuple((top, left) for top in tops for left in lefts))


def windows_along(side: int, crop: int, stride: int) -> int:
    """How many windows there are along a side, shifted ones not counted."""
    return max(side - crop + stride - 1, 0) // stride + 1


def _starts(side: int, crop: int, stride: int, moves: list[int]) -> list[int]:
    last = max(side - crop, 0)
    regular = [min(step * stride, last) for step in range(windows_along(side, crop, stride))]
    return sorted({min(start + move, last) for start in regular for move in moves})
