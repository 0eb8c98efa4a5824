"""CLIP's frozen image encoder, whose tokens can be read after every block."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_clip.config.training_free import Positions
from cascade_clip.model.block import Block, at_relative_depth
from cascade_clip.model.embedding import check_form, embed_patches, project_to_unit
from cascade_clip.model.fast.blocks import fast_blocks, plain_block
from cascade_clip.model.fast.caching import WeightCache
from cascade_clip.model.fast.merging import PatchMerging


class FrozenTrunk(nn.Module):
    """Images to the tokens after some blocks of `visual`, open_clip's `VisionTransformer`.

    It works on the module itself and freezes it. Position embeddings keep CLIP's own values on
    CLIP's own grid, and are resized as `positions` says on all others. `token_merging` is the share
    of `PatchMerging`.

    Raises `UserError` for image encoders of another form.
    """

    visual: Any

    def __init__(self, visual: nn.Module, positions: Positions) -> None:
        super().__init__()
        check_form(visual)
        trunk: Any = visual.eval().requires_grad_(False)
        self.visual, self.positions = trunk, positions
        self.depth = len(trunk.transformer.resblocks)
        plain_block(trunk.transformer.resblocks[-1])
        self.patch_size: tuple[int, int] = trunk.conv1.kernel_size
        self.embed_dim: int = trunk.proj.shape[1]
        self.cache = WeightCache()
        self.token_merging = 0.0

    def forward(self, image: Tensor, blocks: Set[int]) -> tuple[dict[int, Tensor], tuple[int, int]]:
        """Tokens H_b (B, 1 + N, D) after each of `blocks`, 1-based (0: before the first), class
        token first; and the patch grid (h, w). Blocks beyond the last one asked for don't run."""
        tokens, grid = self.embed(image)  # (B, 1 + N, D)
        merging = PatchMerging(self.token_merging, self.depth)
        after = {0: tokens} if 0 in blocks else {}
        resblocks = self.visual.transformer.resblocks[: max(blocks)]
        for number, block in enumerate(fast_blocks(resblocks, self.cache, tokens.device, False), 1):
            tokens = block(tokens, None, merging.bias(0))  # (B, 1 + N, D), fewer if merged
            if number in blocks:
                after[number] = merging.all_tokens(tokens)
            tokens = merging.after_block(number, tokens)
        return after, grid

    def embed(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Class token and patches with their positions (B, 1 + N, D), and the grid (h, w)."""
        visual, position = self.visual, self.visual.positional_embedding  # (1 + N0, D)
        patches, grid = embed_patches(visual, image)  # (B, N, D)
        own = tuple(visual.grid_size)
        patches = patches + self.cache.get(resize_positions, position, own, grid, self.positions)
        class_token = (visual.class_embedding + position[0]).expand(image.shape[0], 1, -1)
        return visual.ln_pre(torch.cat([class_token, patches], dim=1)), grid  # (B, 1 + N, D)

    def block(self, number: int) -> Block:
        """Block `number`, 1-based, with its layers."""
        return plain_block(self.visual.transformer.resblocks[number - 1])

    def scaled(self, number: int) -> int:
        """The block of this CLIP that stands for block `number` of 12. (The released code counts
        from the front: with 13 blocks nothing changes.)"""
        return at_relative_depth(number, self.depth)

    def to_unit(self, tokens: Tensor) -> Tensor:
        """Tokens (..., D) to unit vectors (..., d), by CLIP's last LayerNorm and projection."""
        return project_to_unit(self.visual.ln_post(tokens), self.visual.proj)


def resize_positions(
    position: Tensor, own: tuple[int, int], grid: tuple[int, int], how: Positions
) -> Tensor:
    """Position embeddings (1 + N0, D) of a class token and the grid `own` to those of the patches
    of `grid` (N, D)."""
    plane = position[1:].T.unflatten(1, own)[None]  # (1, D, h0, w0)
    if how == "bicubic-factor":
        # The factor goes to the kernel as it is, so samples lie a little off those of `size`.
        factors = [(new + 0.1) / old for new, old in zip(grid, own, strict=True)]
        resized = F.interpolate(plane, scale_factor=factors, mode="bicubic")
    elif how == "bilinear":
        resized = F.interpolate(plane, size=grid, mode="bilinear")
    else:
        antialias = how == "bicubic-antialias"
        resized = F.interpolate(plane, size=grid, mode="bicubic", antialias=antialias)
    plane = plane if grid == own else resized
    return plane[0].flatten(1).T.contiguous()  # (N, D)
