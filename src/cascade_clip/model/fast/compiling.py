"""When `torch.compile` is worth its time."""

from __future__ import annotations

from typing import Literal

import torch
from torch.utils._triton import has_triton

from cascade_clip.errors import UserError

CompileChoice = bool | Literal["auto"]


def wants_compile(choice: CompileChoice, device: torch.device) -> bool:
    """`auto` compiles on GPUs that Triton writes kernels for.

    Not on CPUs: there the time goes into matrix products and attention, which compilation leaves as
    they are (docs/performance.md).

    Raises `UserError` for another choice.
    """
    if not isinstance(choice, bool) and choice != "auto":
        raise UserError(f"compile is True, False or 'auto', got {choice!r}")
    if choice == "auto":
        return device.type == "cuda" and has_triton()
    return choice
