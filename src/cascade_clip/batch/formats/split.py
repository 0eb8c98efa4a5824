"""Which pictures are for training and which for validation."""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

HELD_OUT = 10
"""One picture in this many is for validation."""


def split_by_name(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of the pictures for training, and of those held out for validation.

    A picture's own name decides, so that more pictures change nothing for those that are there.
    As long as it would hold out none, that is the first one; and where none is left, training takes
    all of them.
    """
    held_out = [name for name in names if crc32(name.encode()) % HELD_OUT == 0] or [*names[:1]]
    apart = set(held_out)
    return [name for name in names if name not in apart] or [*names], held_out
