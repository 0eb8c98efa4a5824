"""Where the windows of a picture lie."""

from __future__ import annotations

from dataclasses import dataclass

Size = tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """Where the windows of one picture lie: all of one `size` (height, width), in pixels."""

    size: Size
    origins: tuple[tuple[int, int], ...]
    """(top, left) of each window, row by row."""


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
