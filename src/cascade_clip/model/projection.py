"""From a block's patch tokens to the joint embedding space, for intermediate levels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_clip.model.block import Block


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
