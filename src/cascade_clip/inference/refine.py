"""PAMR (arXiv 2005.08104): maps are drawn to the edges of the picture, without training.

Each value becomes the mean of its neighbours', weighted by how alike the pixels are; ten times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

ITERATIONS = 10
DILATIONS = (8, 16)
"""Distances of the eight neighbours in pixels, as in NACLIP."""
STRIP_WEIGHTS = 2**25
"""Weights of neighbours that are held at once."""
FEWEST_ROWS = 64


class Pamr:
    """Refines maps of the size of `image` (3, H, W) by its edges.

    The scale of the pixels' values does not matter. It holds 8 weights a dilation and pixel.
    """

    def __init__(
        self,
        image: Tensor,
        iterations: int = ITERATIONS,
        dilations: tuple[int, ...] = DILATIONS,
    ) -> None:
        self.iterations = iterations
        self.reach = max(dilations)
        self.moves = [
            (row * dilation, column * dilation)
            for dilation in dilations
            for row in (-1, 0, 1)
            for column in (-1, 0, 1)
            if row or column
        ]
        self.weights = self._weigh(image, len(dilations))  # (neighbours, H, W)

    def __call__(self, maps: Tensor) -> Tensor:
        """Maps (k, H, W), refined."""
        for _ in range(self.iterations):
            refined = torch.zeros_like(maps)
            for weight, moved in zip(self.weights, self._neighbours(maps), strict=True):
                refined.addcmul_(moved, weight)
            maps = refined
        return maps

    def _weigh(self, image: Tensor, dilations: int) -> Tensor:
        """The share of each neighbour in a pixel's new value."""
        # Deviation over all neighbours and the pixel itself, which each dilation counts anew.
        count = len(self.moves) + dilations
        moved = list(self._neighbours(image))  # (3, H, W) each
        mean = (torch.stack(moved).sum(dim=0) + dilations * image) / count
        squares = dilations * (image - mean).square()
        for neighbour in moved:
            squares += (neighbour - mean).square()
        deviation = (squares / (count - 1)).sqrt()  # (3, H, W)
        unlike = [
            ((neighbour - image).abs() / (1e-8 + 0.1 * deviation)).mean(dim=0)
            for neighbour in moved
        ]
        return torch.stack(unlike).neg_().softmax(dim=0)

    def _neighbours(self, maps: Tensor) -> Iterator[Tensor]:
        """The maps (k, H, W) as each neighbour sees them; beyond the edge its values go on."""
        height, width = maps.shape[1:]
        padded = F.pad(maps[None], (self.reach,) * 4, mode="replicate")[0]
        for row, column in self.moves:
            top, left = self.reach + row, self.reach + column
            yield padded[:, top : top + height, left : left + width]


@dataclass(frozen=True)
class Strip:
    """Rows of a picture that are refined together with all rows that reach them."""

    output: slice
    seen: slice
    kept: slice
    """`output` within `seen`."""


def strips(height: int, width: int) -> Iterator[Strip]:
    """A picture in strips whose weights fit `STRIP_WEIGHTS`."""
    halo = ITERATIONS * max(DILATIONS)
    rows = STRIP_WEIGHTS // (8 * len(DILATIONS) * width)
    length = height if rows >= height else max(FEWEST_ROWS, rows - 2 * halo)
    for first in range(0, height, length):
        last = min(first + length, height)
        seen = slice(max(0, first - halo), min(height, last + halo))
        kept = slice(first - seen.start, last - seen.start)
        yield Strip(slice(first, last), seen, kept)
