"""How pictures go through a network, and what is done to its scores."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, model_validator

from cascade_clip.config.base import Pixels, Settings


class InferenceSettings(Settings):
    """Sliding windows, and offsets of scores."""

    crop: Pixels = 512
    """Side of sliding windows and of training crops, in pixels."""
    stride: Pixels = 426
    """Step between sliding windows, in pixels."""
    shifts: Annotated[int, Field(gt=0, le=64)] = 1
    """2 or more: each window is repeated so many times along each side, moved by equal parts of a
    patch, and scores are averaged. Finer edges for `shifts` x `shifts` the time; needs pictures a
    patch larger than `crop`, see `short_side`. The papers use 1."""
    short_side: Pixels = 512
    """Pictures are scaled to this short side, in pixels; in training times a random factor."""
    seen_score_offset: NonNegativeFloat = 0.1
    """Subtracted from the scores of seen classes before arg-max: 0.1 as released in the inductive
    setting, 0 in the transductive and full ones."""

    @model_validator(mode="after")
    def _check(self) -> InferenceSettings:
        if self.stride > self.crop:
            raise ValueError(
                f"stride ({self.stride}) is larger than crop ({self.crop}): pixels between "
                "windows would get no score"
            )
        return self
