"""Which device to compute on."""

from __future__ import annotations

import torch

from cascade_clip.errors import UserError


def usable_device(device: str | torch.device) -> torch.device:
    """`device` as torch names it. Raises `UserError` for names unknown to torch and for GPUs that
    this machine or this build of PyTorch doesn't have."""
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"no device '{device}'; take 'cpu', 'cuda' or 'cuda:1'") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"no device '{device}': PyTorch {torch.__version__} finds {torch.cuda.device_count()} "
            "GPUs here; take another one or 'cpu'"
        )
    return found
