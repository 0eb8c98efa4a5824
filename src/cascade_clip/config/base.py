"""What all settings have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Pixels = Annotated[int, Field(gt=0, le=16_384)]
Count = Annotated[int, Field(gt=0, le=1_000_000_000)]
"""Of steps and pictures: without bounds, a typing error ends in a traceback about memory."""
CountOrNone = Annotated[int, Field(ge=0, le=1_000_000_000)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveShare = Annotated[float, Field(gt=0.0, le=1.0)]


PrecisionChoice = Literal["auto", "fp32", "bf16", "int8"]
"""Of inference; `auto`: bf16 where the device multiplies it, else fp32."""


class Settings(BaseModel):
    """Base of all settings: immutable; an unknown key is an error, and so is a number that is not
    finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
