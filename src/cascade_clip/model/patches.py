"""Pictures cut into patches by CLIP's first layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.model.checks import check_image


def embed_patches(visual: Any, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Normalised images (B, 3, H, W) to patches without positions (B, N, D), row by row, and their
    grid (h, w). Raises `UserError` for sides that are no multiples of the patch size."""
    check_image(image, visual.conv1.kernel_size)
    # Channels last: then the patches come out of the convolution token by token.
    image = image.to(visual.conv1.weight.dtype, memory_format=torch.channels_last)
    patches = visual.conv1(image)  # (B, D, h, w)
    return patches.flatten(2).transpose(1, 2), (patches.shape[2], patches.shape[3])


def resize_grid(vectors: Tensor, grids: tuple[tuple[int, int], ...]) -> Tensor:
    """A vector for each patch of the first of `grids` (N0, D), resized to the others in turn: those
    of the last one's patches (N, D)."""
    plane = vectors.T.unflatten(1, grids[0])[None]  # (1, D, h0, w0)
    for grid in grids[1:]:
        # An exported graph serves every grid, the first one included.
        if torch.compiler.is_exporting() or plane.shape[2:] != grid:
            plane = F.interpolate(plane, size=grid, mode="bilinear", align_corners=False)
    return plane[0].flatten(1).T.contiguous()
