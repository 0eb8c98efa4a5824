"""The parts of a data set. Imports nothing heavy, so that mistyped ones are reported at once."""

from __future__ import annotations

from typing import Literal, get_args

from cascade_clip.errors import UserError
from cascade_clip.support.messages import did_you_mean

Part = Literal["train", "val", "calibration", "test"]


def read_part(name: str) -> Part:
    """The part of that name. Raises `UserError` if there is none."""
    parts: tuple[Part, ...] = get_args(Part)
    for part in parts:
        if part == name:
            return part
    raise UserError(
        f"unknown part '{name}'; there are {', '.join(parts)}{did_you_mean(name, parts)}"
    )
