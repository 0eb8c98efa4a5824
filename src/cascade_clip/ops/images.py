"""Pictures and labels as tensors: sizes that keep the ratio, resizing, normalising."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def scaled_size(
    size: tuple[int, int] | torch.Size, short_side: int, long_side: int | None = None
) -> list[int]:
    """(height, width) scaled so that the shorter one is `short_side`, or less where the longer one
    would exceed `long_side`; to the nearest pixel."""
    scale = short_side / min(size)
    if long_side is not None:
        scale = min(scale, long_side / max(size))
    return [max(1, int(side * scale + 0.5)) for side in size]


def resize_bilinear(images: Tensor, size: list[int]) -> Tensor:
    """Images (..., 3, H, W) to `size`, bilinear without antialiasing (as OpenCV does).

    The same numbers in the same layout as torchvision's `resize`, whose import takes seconds.
    """
    if list(images.shape[-2:]) == size:
        return images
    batch = images.reshape(-1, *images.shape[-3:])  # (B, 3, H, W)
    if len(batch) == 1 and batch.is_contiguous(memory_format=torch.channels_last):
        # With this stride torch knows it for channels-last, too, and needs no copy.
        batch = batch.as_strided(batch.shape, (batch.numel(), *batch.stride()[1:]))
    rounds = images.dtype == torch.uint8 and not _resizes_bytes(images.device)
    batch = F.interpolate(batch.float() if rounds else batch, size, mode="bilinear")
    batch = batch.round_().to(images.dtype) if rounds else batch
    return batch.reshape(*images.shape[:-2], *size)


def _resizes_bytes(device: torch.device) -> bool:
    """Whether torch resizes bytes fast as they are."""
    fast = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    return device.type == "cpu" and (fast or platform.machine() in ("aarch64", "arm64"))


def resize_nearest(
    labels: Tensor, size: list[int], rule: Literal["exact", "opencv"] = "exact"
) -> Tensor:
    """Labels (H, W) to `size`; each pixel takes the one at its top left corner.

    `opencv` finds it in float64 as OpenCV does, whose rounding at some corners between two pixels
    takes the pixel before.
    """
    if list(labels.shape) == size:
        return labels
    take = _opencv_positions if rule == "opencv" else _exact_positions
    rows, columns = (take(new, old) for new, old in zip(size, labels.shape, strict=True))
    return torch.from_numpy(labels.numpy().take(columns, axis=1).take(rows, axis=0))


def _exact_positions(new: int, old: int) -> NDArray[np.integer]:
    return np.arange(new) * old // new


def _opencv_positions(new: int, old: int) -> NDArray[np.integer]:
    return np.minimum(np.floor(np.arange(new) * (1 / (new / old))).astype(np.int64), old - 1)


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """RGB (..., 3, H, W) uint8 to float32 with `mean` and `std` of values in [0, 1]."""
    shape = (3, 1, 1)
    mean_values = torch.tensor(mean, device=images.device).view(shape)
    std_values = torch.tensor(std, device=images.device).view(shape)
    return (images.float() / 255 - mean_values) / std_values
