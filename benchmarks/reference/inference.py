"""Sliding windows that hold the scores of all classes at full size."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Size = tuple[int, int]


@torch.no_grad()
def sliding_scores(
    predict: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    crop: int,
    stride: int,
    output_size: Size,
    offsets: Tensor,
) -> Tensor:
    """`predict` maps windows (B, 3, h, w) to mask logits (B, C, S, S); scores (B, C, H0, W0), with
    `offsets` (C,) added."""
    height, width = image.shape[2:]
    total: Tensor | None = None
    count = image.new_zeros(1, 1, height, width)
    for row in range(max(height - crop + stride - 1, 0) // stride + 1):
        for column in range(max(width - crop + stride - 1, 0) // stride + 1):
            bottom, right = min(row * stride + crop, height), min(column * stride + crop, width)
            top, left = max(bottom - crop, 0), max(right - crop, 0)
            window = image[:, :, top:bottom, left:right]
            scores = predict(window).sigmoid()  # (B, C, S, S)
            scores = scores + offsets[:, None, None]
            scores = resize(scores, (bottom - top, right - left))
            placed = F.pad(scores, (left, width - right, top, height - bottom))
            total = placed if total is None else total + placed
            count[:, :, top:bottom, left:right] += 1
    assert total is not None
    return resize(total / count, output_size)


def sliding_labels(predict: Callable[[Tensor], Tensor], image: Tensor, **options: object) -> Tensor:
    """(B, H0, W0)."""
    return sliding_scores(predict, image, **options).argmax(dim=1)  # type: ignore[arg-type]


def resize(maps: Tensor, size: Size) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
