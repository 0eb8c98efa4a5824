"""Region tokens (CLIP-RC, CVPR 2024, pp. 3270-3280): each sees one cell of the patch grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Regions(nn.Module):
    """R = side * side tokens, row by row, for the cells of a grid of side * side cells.

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
