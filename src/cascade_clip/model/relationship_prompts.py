"""Relationship prompts: what relates an image to each class, as tokens of the image encoder.

RPN (Relationship Prompt Networks, NeurIPS 2024). The released code fixes the number of patches;
here the weights belong to a reference grid and serve any other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cascade_clip.model.fast.caching import WeightCache
from cascade_clip.model.heads.head import one_prompt
from cascade_clip.model.patches import resize_grid
from cascade_clip.model.prompts import start_of_prompts


class RelationshipPrompts(nn.Module):
    """One token per class, a sum of `weights` over the patches, each by how well it matches.

    `weights` (N0, D) lie on `reference_grid` of N0 patches. On another grid they are resized
    bilinearly, as a map of D channels, and multiplied by N0 / N, so that sums over the patches keep
    their size; on the reference grid nothing changes.
    """

    def __init__(
        self, width: int, patch_size: tuple[int, int], reference_grid: tuple[int, int]
    ) -> None:
        super().__init__()
        self.reference_grid = reference_grid
        self.weights = nn.Parameter(
            start_of_prompts((math.prod(reference_grid), width), patch_size)
        )
        self.cache = WeightCache()

    def forward(self, embeddings: Tensor, text: Tensor, grid: tuple[int, int]) -> Tensor:
        """Unit embeddings (B, 1 + N, d) of class token and patches and text embeddings (C, d) or
        (C, 1, d) to tokens (B, C, D). Raises `UserError` for several prompts a class."""
        class_token, patches = embeddings[:, :1], embeddings[:, 1:]
        matches = (one_prompt(text) * class_token) @ patches.transpose(1, 2)  # (B, C, N)
        return matches @ self.cache.get(self.weights_on, self.weights, grid)

    def weights_on(self, weights: Tensor, grid: tuple[int, int]) -> Tensor:
        """`weights` (N0, D) on a grid (h, w): (N, D)."""
        resized = resize_grid(weights, (self.reference_grid, grid))
        if torch.compiler.is_exporting() or grid != self.reference_grid:
            resized = resized * (len(weights) / (grid[0] * grid[1]))
        return resized
