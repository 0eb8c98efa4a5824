"""Which device to compute on, and where float32 stays float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from cascade_clip.errors import UserError


def choose_device(device: str) -> torch.device:
    """A device by torch's name; `auto` is a CUDA GPU if there is one, else the CPU. (Apple's GPUs
    have to be asked for.) Raises `UserError` as `usable_device`."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return usable_device(device)


def usable_device(device: str | torch.device) -> torch.device:
    """`device` as torch names it. Raises `UserError` for names unknown to torch and for devices
    that this machine or this build of PyTorch doesn't have."""
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"no device {device!r}; take 'cpu', 'cuda', 'cuda:1' or 'mps'") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"no device '{device}': PyTorch {torch.__version__} finds {torch.cuda.device_count()} "
            "GPUs here; take another one or 'cpu'"
        )
    here = torch.accelerator.current_accelerator(check_available=True)
    usable = ["cpu"] if here is None else ["cpu", here.type]
    if found.type not in usable:
        raise UserError(f"no device '{device}' here; take {' or '.join(map(repr, usable))}")
    return found


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """No autocast on a device. Exported graphs have no place for it, and no need of it."""
    if torch.compiler.is_exporting():
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
