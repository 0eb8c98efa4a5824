"""Into CLIP's image encoder and out of it: pictures to patches, tokens to joint embedding space."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_clip.errors import UserError
from cascade_clip.model.block import Block


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


class LevelProjections(nn.Module):
    """A LayerNorm and a (D, d) projection of its own for each intermediate level.

    Cascade-CLIP (arXiv 2406.00670) describes a projection per level; the released code leaves
    them at a frozen random start (LayerNorm at the identity, projection normal with std D^-0.5).
    `start` is one of `EncoderSettings.level_projection`: where they start, and whether they train.
    """

    def __init__(
        self, levels: int, clip_norm: nn.LayerNorm, clip_projection: Tensor, start: str
    ) -> None:
        super().__init__()
        width, embed_dim = clip_projection.shape
        from_clip = start in {"clip-frozen", "clip-trained"}
        eps = clip_norm.eps if from_clip else 1e-5
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=eps) for _ in range(levels))
        self.weights = nn.Parameter(torch.randn(levels, width, embed_dim) * width**-0.5)
        if from_clip:
            self._start_from(clip_norm, clip_projection)
        self.requires_grad_(start in {"random-trained", "clip-trained"})

    @torch.no_grad()
    def _start_from(self, clip_norm: nn.LayerNorm, clip_projection: Tensor) -> None:
        self.weights.copy_(clip_projection.expand_as(self.weights))
        for norm in self.norms:
            norm.load_state_dict(clip_norm.state_dict())

    def forward(self, level: int, patches: Tensor) -> Tensor:
        """Patch tokens (B, N, D) of intermediate level `level` to unit vectors (B, N, d)."""
        return project_to_unit(self.norms[level](patches), self.weights[level])


def value_path(block: Block, patches: Tensor) -> Tensor:
    """Patch tokens (B, N, D) through the values of a block alone, as if each attended to itself:
    (B, N, D), in their own type also where the block is in a lower precision."""
    value = block.key_value(block.ln_1(patches)).chunk(2, dim=-1)[1]  # (B, N, D)
    return block.out(value).to(patches.dtype)


def project_to_unit(tokens: Tensor, projection: Tensor) -> Tensor:
    """Tokens (..., D) times projection (D, d), to unit vectors (..., d) of the tokens' dtype."""
    embeddings = tokens.to(projection.dtype) @ projection
    return F.normalize(embeddings.to(tokens.dtype), dim=-1)


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
