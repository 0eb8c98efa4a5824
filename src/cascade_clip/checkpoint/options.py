"""How a model is loaded and run, as options of commands say it. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from cascade_clip.config.base import PrecisionChoice
from cascade_clip.config.recipes import read_overrides
from cascade_clip.errors import UserError
from cascade_clip.support.messages import did_you_mean

AUTO = "auto"
_DEVICES = (AUTO, "cpu", "cuda", "mps")


@dataclass(frozen=True)
class RunOptions:
    """Plain values, which travel to other processes and machines."""

    device: str = AUTO
    """As torch names it; `auto`: a CUDA GPU if there is one, else the CPU."""
    precision: PrecisionChoice = "fp32"
    inference: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the recipe's group `inference` in place of its own."""


def read_run_options(device: str, precision: str, settings: Sequence[str] = ()) -> RunOptions:
    """What --device, --precision and --set say. Whether the device is there, and whether values
    fit the model's recipe, is seen when they are used.

    Raises `UserError` for unknown ones, int8 on a GPU, and settings outside of `inference`.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise UserError(
            f"--device is {', '.join(_DEVICES)} or cuda:N; got '{device}'"
            f"{did_you_mean(device, _DEVICES)}"
        )
    known = get_args(PrecisionChoice)
    if precision not in known:
        raise UserError(
            f"--precision is {', '.join(known)}; got '{precision}'{did_you_mean(precision, known)}"
        )
    if precision == "int8" and device not in (AUTO, "cpu"):
        raise UserError(f"--precision int8 runs on CPUs only, not on '{device}'; use bf16 or auto")
    choice: PrecisionChoice = precision  # type: ignore[assignment]  # it is one of them
    values = read_overrides(settings)
    if others := values.keys() - {"inference"}:
        raise UserError(
            f"--set changes settings of inference only; '{min(others)}' belongs to a recipe: "
            "cascade-clip train RECIPE KEY=VALUE"
        )
    return RunOptions(device, choice, values.get("inference", {}))
