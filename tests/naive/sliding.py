"""Sliding-window scores as the definition reads, holding all classes at full size."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]


def sliding_scores(
    mask_logits_of: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    patch: int,
    crop: int,
    stride: int,
    output_size: Size,
    offsets: Tensor,
    logit_size: Size | None = None,
    shifts: int = 1,
) -> Tensor:
    """(B, 3, H, W) -> (B, C, H0, W0)."""
    height, width = image.shape[2:]
    total: Tensor | float = 0.0
    count = torch.zeros(height, width)
    for top in starts(height, crop, stride, patch, shifts):
        for left in starts(width, crop, stride, patch, shifts):
            bottom, right = min(top + crop, height), min(left + crop, width)
            window = image[:, :, top:bottom, left:right]
            padding = (0, -window.shape[3] % patch, 0, -window.shape[2] % patch)
            window = F.pad(window, padding, mode="replicate")
            scores = resize(mask_logits_of(window), logit_size or window.shape[2:]).sigmoid()
            scores = resize(scores, window.shape[2:])
            scores = scores + offsets[:, None, None]
            scores = scores[:, :, : bottom - top, : right - left]
            total = total + F.pad(scores, (left, width - right, top, height - bottom))
            count[top:bottom, left:right] += 1
    return resize(total / count, output_size)


def starts(side: int, crop: int, stride: int, patch: int, shifts: int) -> set[int]:
    found = set()
    for step in range(max(side - crop + stride - 1, 0) // stride + 1):
        for shift in range(shifts):
            end = min(step * stride + crop, side)
            end = min(end + shift * patch // shifts, side)
            found.add(max(end - crop, 0))
    return found


def resize(maps: Tensor, size: Size) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
