"""At which size pictures go through the network, and which of them together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cascade_clip.errors import UserError
from cascade_clip.inference.windows import Size, windows, windows_along
from cascade_clip.ops.resize import short_side_size

MAX_WINDOWS = 64
WINDOW_BATCH = 8
"""Windows that go through the network at once."""
BATCH = 8
"""Pictures that may be read before they go through the network together."""
BATCH_PIXELS = 16_000_000
"""And how many pixels they have at most, if there is more than one."""


def check_max_windows(max_windows: object) -> None:
    """Raises `UserError` unless it is a whole number from 1."""
    if not isinstance(max_windows, (int, np.integer)) or max_windows < 1:
        raise UserError(f"max_windows is a whole number, at least 1; got {max_windows!r}")


@dataclass(frozen=True)
class PictureSizes:
    """Sizes are (height, width) in pixels.

    Raises `UserError` if `max_windows` is not positive.
    """

    short_side: int
    crop: int
    stride: int
    shifts: int = 1
    patch: Size = (1, 1)
    max_windows: int = MAX_WINDOWS
    """Larger pictures are shrunk until they fit."""

    def __post_init__(self) -> None:
        check_max_windows(self.max_windows)

    def in_network(self, picture: Size) -> Size:
        """The size to which a picture is scaled for the network: as large as `max_windows` allow,
        but no larger than `short_side` asks for."""
        wanted = short_side_size(picture, self.short_side)

        def scaled(long_side: int) -> Size:
            height, width = (side * long_side // max(wanted) for side in wanted)
            return max(1, height), max(1, width)

        if self._fits(scaled(max(wanted))):
            return scaled(max(wanted))
        fitting, too_long = 1, max(wanted)  # a single pixel is a single window
        while too_long - fitting > 1:
            long_side = (fitting + too_long) // 2
            if self._fits(scaled(long_side)):
                fitting = long_side
            else:
                too_long = long_side
        return scaled(fitting)

    def _fits(self, size: Size) -> bool:
        regular = [windows_along(side, self.crop, self.stride) for side in size]
        # Very long pictures are not worth a list of all their windows.
        return math.prod(regular) <= self.max_windows and self._windows(size) <= self.max_windows

    def _windows(self, size: Size) -> int:
        return len(windows(size, self.crop, self.stride, self.shifts, self.patch).origins)

    def note(self, picture: Size) -> str | None:
        """What a user should know about how a picture is treated; None: nothing."""
        wanted = short_side_size(picture, self.short_side)
        allowed = self.in_network(picture)
        if list(allowed) == wanted:
            return None
        return (
            f"a picture of {picture[1]} x {picture[0]} pixels would take more than "
            f"{self.max_windows} windows; it is shrunk to {allowed[1]} x {allowed[0]} instead of "
            f"{wanted[1]} x {wanted[0]} for the network"
        )

    def passes(self, pictures: Sequence[Size]) -> Iterator[list[int]]:
        """Indices of the pictures that go through the network together: those of equal size, as
        many as fit into one pass of windows."""
        by_size: dict[Size, list[int]] = {}
        for index, picture in enumerate(pictures):
            by_size.setdefault(picture, []).append(index)
        for picture, members in by_size.items():
            together = max(1, WINDOW_BATCH // self._windows(self.in_network(picture)))
            for start in range(0, len(members), together):
                yield members[start : start + together]
