"""Softmax over all names, as training-free methods score: cosines are averaged over windows,
brought to the picture's size, refined if wanted, and only then scaled and compared.

Names come a few at a time, tile by tile, so that memory grows with neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cascade_clip.inference.refine import Pamr, strips
from cascade_clip.inference.tiles import TILE, Axis, Tile, TileSpan, axis_spans, tile_spans
from cascade_clip.ops.argmax import RunningArgmax

TILE_VALUES_DEVICE = 2**25
"""Values of a tile on an accelerator."""

CosinesOf = Callable[[Tensor], Tensor]
"""Cosines (k, H, W) of some names, by their indices (k,), ascending, all over a tile."""


class RunningSoftmax:
    """Keeps, per pixel, the largest of the scaled cosines (the logits) and what the softmax divides
    by, over names that arrive a few at a time."""

    def __init__(self, size: tuple[int, int], *, dtype: torch.dtype, device: torch.device) -> None:
        self.best = RunningArgmax(size, dtype=dtype, device=device)
        self.total = torch.zeros(size, dtype=dtype, device=device)  # (H, W), of exp(x - largest)

    def update(self, logits: Tensor, names: Tensor) -> None:
        """Take in logits (k, H, W) of names (k,)."""
        before = self.best.scores.clone()
        self.best.update(logits, names)
        self.total.mul_((before - self.best.scores).exp_())
        self.total.add_((logits - self.best.scores).exp_().sum(dim=0))

    def probabilities(self, logits: Tensor) -> Tensor:
        """Of logits (k, H, W), when all names have been taken in."""
        return (logits - self.best.scores).exp_().div_(self.total)


@dataclass(frozen=True)
class SoftmaxScores:
    """One picture's cosines in all windows, and how they are compared."""

    cosines: Tensor
    """(windows, K, h, w), of K names, the windows row by row."""
    rows: Axis
    columns: Axis
    scale: float
    """Factor on the cosines before the softmax."""
    offsets: Tensor
    """(K,), added to the probabilities."""
    guide: Tensor | None
    """(3, H0, W0): the picture by whose edges the cosines are refined; None: they are not."""

    def best(self) -> RunningArgmax:
        """The best name of every pixel, and its probability plus offset."""
        size = (self.rows.output, self.columns.output)
        best = RunningArgmax(size, dtype=self.cosines.dtype, device=self.cosines.device)
        shifted = bool(self.offsets.any())
        for row, column, cosines_of, names_at_once in self._tiles():
            place = best.part(row, column)
            running = self._running(cosines_of, place.scores.shape, names_at_once)
            if not shifted:
                place.update((1 / running.total)[None], 0)
                place.labels.copy_(running.best.labels)
                continue
            for names in self._names(names_at_once):
                scores = running.probabilities(self.scale * cosines_of(names))
                place.update(scores.add_(self.offsets[names, None, None]), names)
        return best

    def scores(self) -> Tensor:
        """Probabilities plus offsets of all names: (K, H0, W0)."""
        size = (len(self.offsets), self.rows.output, self.columns.output)
        scores = self.cosines.new_empty(size)
        for row, column, cosines_of, names_at_once in self._tiles():
            place = scores[:, row, column]
            running = self._running(cosines_of, place.shape[1:], names_at_once)
            for names in self._names(names_at_once):
                probabilities = running.probabilities(self.scale * cosines_of(names))
                place[names] = probabilities.add_(self.offsets[names, None, None])
        return scores

    def _running(
        self, cosines_of: CosinesOf, size: torch.Size, names_at_once: int
    ) -> RunningSoftmax:
        like = self.cosines
        running = RunningSoftmax((size[0], size[1]), dtype=like.dtype, device=like.device)
        for names in self._names(names_at_once):
            running.update(self.scale * cosines_of(names), names)
        return running

    def _names(self, at_once: int) -> tuple[Tensor, ...]:
        return torch.arange(len(self.offsets), device=self.cosines.device).split(at_once)

    def _tiles(self) -> Iterator[tuple[slice, slice, CosinesOf, int]]:
        """Rows and columns of each tile, its cosines, and how many names it takes at once."""
        return self._plain_tiles() if self.guide is None else self._refined_strips(self.guide)

    def _plain_tiles(self) -> Iterator[tuple[slice, slice, CosinesOf, int]]:
        dtype, device, side = self.cosines.dtype, self.cosines.device, TILE
        if device.type != "cpu":
            side = max(TILE, int((TILE_VALUES_DEVICE / len(self.offsets)) ** 0.5))
        across = list(tile_spans(self.columns, side, dtype=dtype, device=device))
        for row in tile_spans(self.rows, side, dtype=dtype, device=device):
            for column in across:
                tile = self._tile(row, column)
                yield row.output, column.output, tile.scores, tile.classes_at_once()

    def _refined_strips(self, guide: Tensor) -> Iterator[tuple[slice, slice, CosinesOf, int]]:
        dtype, device = self.cosines.dtype, self.cosines.device
        everywhere = slice(0, self.columns.output)
        (column,) = axis_spans(self.columns, [everywhere], dtype=dtype, device=device)
        for strip in strips(self.rows.output, self.columns.output):
            (row,) = axis_spans(self.rows, [strip.seen], dtype=dtype, device=device)
            tile, pamr = self._tile(row, column), Pamr(guide[:, strip.seen].to(dtype))

            def refined(
                names: Tensor, tile: Tile = tile, pamr: Pamr = pamr, kept: slice = strip.kept
            ) -> Tensor:
                return pamr(tile.scores(names))[:, kept]

            yield strip.output, everywhere, refined, tile.classes_at_once()

    def _tile(self, row: TileSpan, column: TileSpan) -> Tile:
        none = torch.zeros_like(self.offsets)
        return Tile(self.cosines, none, row, column, len(self.columns.starts), sigmoid=False)
