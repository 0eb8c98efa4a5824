"""At which size pictures go through the network, and which of them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cascade_clip.data.resize import short_side_size
from cascade_clip.inference.windows import Size, windows

MAX_WINDOWS = 64
WINDOW_BATCH = 8
"""Windows that go through the network at once."""


@dataclass(frozen=True)
class PictureSizes:
    """Sizes are (height, width) in pixels."""

    short_side: int
    crop: int
    stride: int
    shifts: int = 1
    max_windows: int = MAX_WINDOWS
    """Larger pictures are shrunk until they fit."""

    def in_network(self, picture: Size) -> Size:
        """The size to which a picture is scaled for the network."""
        unshifted = max(1, self.max_windows // self.shifts**2)
        wanted = short_side_size(picture, self.short_side)
        return capped_size(wanted, self.crop, self.stride, unshifted)

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
            places = windows(self.in_network(picture), self.crop, self.stride)
            together = max(1, WINDOW_BATCH // (len(places.origins) * self.shifts**2))
            for start in range(0, len(members), together):
                yield members[start : start + together]


def capped_size(size: Sequence[int], crop: int, stride: int, max_windows: int) -> Size:
    """(height, width), shrunk in proportion if it would take more than `max_windows` windows."""
    counts = [max(side - crop + stride - 1, 0) // stride + 1 for side in size]
    if counts[0] * counts[1] <= max_windows:
        return size[0], size[1]
    along = max(1, max_windows // min(counts))
    scale = (crop + stride * (along - 1)) / max(size)
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
