"""The parts of a data set. Imports nothing heavy, so that a mistyped one is told at once."""

from __future__ import annotations

from typing import Literal, get_args

from cascade_clip.errors import UserError
from cascade_clip.support.messages import did_you_mean

Split = Literal["train", "val", "calibration", "test"]


def read_split(name: str) -> Split:
    """The split of that name. Raises `UserError` if there is none."""
    splits: tuple[Split, ...] = get_args(Split)
    for split in splits:
        if split == name:
            return split
    raise UserError(
        f"unknown split '{name}'; there are {', '.join(splits)}{did_you_mean(name, splits)}"
    )
