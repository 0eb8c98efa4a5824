"""How a model is loaded and run, as options of commands say it. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import get_args

from cascade_clip.config.base import PrecisionChoice
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


def read_run_options(device: str, precision: str) -> RunOptions:
    """What --device and --precision say. Whether the device is there, is seen when it is used.

    Raises `UserError` for unknown ones, and for int8 on a GPU.
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
    return RunOptions(device, choice)
