"""Tokens that the image encoder runs beside CLIP's own: prompts, relationship prompts, regions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cascade_clip.config import EncoderSettings
from cascade_clip.model.embedding import resize_grid
from cascade_clip.model.fast.caching import WeightCache
from cascade_clip.model.heads.head import one_prompt


class Prompts(nn.Module):
    """P prompt tokens for each of `blocks` blocks, through one shared linear layer.

    Deep prompts (ZegCLIP, arXiv 2212.03588, section 3.2, after VPT, arXiv 2203.12119) replace the
    prompts of the block before; shallow prompts are placed once and carried along.

    Initialisation follows the released code: tokens uniform in (-v, v) with
    v = sqrt(6 / (3 * patch^2 + D)); the linear layer's weight Kaiming normal over fan-out.
    """

    def __init__(
        self, blocks: int, width: int, patch_size: tuple[int, int], settings: EncoderSettings
    ) -> None:
        super().__init__()
        start = start_of_prompts((blocks, settings.prompts, width), patch_size)
        self.embeddings = nn.Parameter(start)
        self.projection = nn.Linear(width, width)
        nn.init.kaiming_normal_(self.projection.weight, mode="fan_out")
        self.dropout = nn.Dropout(settings.prompt_dropout)
        self.cache = WeightCache()

    def forward(self, batch: int) -> list[Tensor]:
        """Tokens per block: (B, P, D) in training, where the dropout mask differs from image to
        image; (1, P, D) in evaluation, where all images share them."""
        projected = self.cache.get(self.projection, self.embeddings)  # (blocks, P, D)
        if not self.training:
            return list(projected.unsqueeze(1))
        return [self.dropout(tokens.expand(batch, -1, -1)) for tokens in projected]

    def project(self, tokens: Tensor) -> Tensor:
        """Further tokens (B, C, D) for a block, through the same layer as its own."""
        return self.dropout(self.projection(tokens))


class RelationshipPrompts(nn.Module):
    """One token per class, which relates the image to it (RPN, Relationship Prompt Networks,
    NeurIPS 2024): a sum of `weights` over the patches, each by how well it matches.

    The released code fixes the number of patches; here `weights` (N0, D) lie on `reference_grid` of
    N0 patches. On another grid they are resized bilinearly, as a map of D channels, and multiplied
    by N0 / N, so that sums over the patches keep their size; on the reference grid nothing changes.
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


def start_of_prompts(shape: tuple[int, ...], patch_size: tuple[int, int]) -> Tensor:
    """Random values (..., D) as prompt tokens start: uniform in (-v, v)."""
    bound = math.sqrt(6.0 / (3 * patch_size[0] * patch_size[1] + shape[-1]))
    return torch.empty(shape).uniform_(-bound, bound)


class Regions(nn.Module):
    """R = side * side region tokens (CLIP-RC, CVPR 2024, pp. 3270-3280), row by row, each of which
    sees one cell of the patch grid, divided into side * side.

    As released, all start as one token `start` (D,), and are frozen: they differ only in what they
    see. The released code's cells are those of one grid of patches; here they fit any grid.
    """

    tokens: Tensor  # (R, D)

    def __init__(self, side: int, start: Tensor) -> None:
        super().__init__()
        self.side = side
        self.register_buffer("tokens", start.detach().repeat(side * side, 1))

    def attention_mask(self, grid: tuple[int, int], prompts: int) -> Tensor:
        """Which token attends to which, (T, T) for T = 1 + N + R + prompts, in this order: class
        token, patches of a grid (h, w), regions, prompts.

        A region and the patches of its cell attend to each other, and a region to itself. The class
        token, patches and prompts all attend to each other.
        """
        patches = self.cells(grid)  # (N,)
        regions = torch.arange(self.side * self.side, device=patches.device)  # (R,)
        no_cell = patches.new_full((1,), -1)
        others = no_cell.expand(prompts)
        cell = torch.cat([no_cell, patches, regions, others])  # (T,)
        outside = torch.zeros_like(torch.cat([no_cell, patches]), dtype=torch.bool)
        region = torch.cat([outside, regions >= 0, others >= 0])  # (T,)
        return (cell[:, None] == cell) | ~(region[:, None] | region)

    def cells(self, grid: tuple[int, int]) -> Tensor:
        """The cell (N,) of each patch (y, x): row floor(y * side / h), column floor(x * side / w).
        On a grid of fewer patches than cells, some cells have none."""
        rows, columns = (
            torch.arange(length, device=self.tokens.device) * self.side // length for length in grid
        )
        return (rows[:, None] * self.side + columns).flatten()
