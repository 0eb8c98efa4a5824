"""Pictures cut into patches by CLIP's first layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cascade_clip.model.checks import check_image


def embed_patches(visual: Any, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Normalised images (B, 3, H, W) to patches without positions (B, N, D), row by row, and their
    grid (h, w). Raises `UserError` for sides that are no multiples of the patch size."""
    check_image(image, visual.conv1.kernel_size)
    # Channels last: then the patches come out of the convolution token by token.
    image = image.to(visual.conv1.weight.dtype, memory_format=torch.channels_last)
    patches = visual.conv1(image)  # (B, D, h, w)
    return patches.flatten(2).transpose(1, 2), (patches.shape[2], patches.shape[3])
