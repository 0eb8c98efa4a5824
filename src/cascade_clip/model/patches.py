"""Pictures cut into patches by CLIP's first layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.errors import UserError


def embed_patches(visual: Any, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Normalised images (B, 3, H, W) to patches without positions (B, N, D), row by row, and their
    grid (h, w). Raises `UserError` for sides that are no multiples of the patch size."""
    _check_image(image, visual.conv1.kernel_size)
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


def check_form(visual: Any) -> None:
    """Raises `UserError` unless it is open_clip's `VisionTransformer` in the form of CLIP's own."""
    if not hasattr(visual, "conv1") or not hasattr(
        getattr(visual, "transformer", None), "resblocks"
    ):
        raise UserError(
            f"the image encoder is a {type(visual).__name__}; expected open_clip's "
            "VisionTransformer, as in ViT-B-16 or ViT-L-14"
        )
    if visual.attn_pool is not None or visual.pool_type != "tok" or visual.proj is None:
        raise UserError(
            "this CLIP pools its image embedding from the patches; only those that read it from "
            "the class token are supported, as ViT-B-16 and ViT-L-14 do"
        )


def _check_image(image: Tensor, patch_size: tuple[int, int]) -> None:
    """Raises `UserError` unless `image` is (B, 3, H, W) with sides divisible by the patch size."""
    if image.ndim != 4 or image.shape[1] != 3:
        raise UserError(f"images must be (B, 3, H, W), got {tuple(image.shape)}")
    for side, length, patch in zip(("height", "width"), image.shape[2:], patch_size, strict=True):
        if length % patch or length == 0:
            below, above = length // patch * patch, (length // patch + 1) * patch
            near = f"{below} or {above}" if below else f"{above}"
            raise UserError(
                f"image {side} {length} is not a multiple of the patch size {patch}; the nearest "
                f"that works: {near}"
            )
