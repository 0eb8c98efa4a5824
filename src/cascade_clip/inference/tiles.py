"""The best class of every pixel, tile by tile, without computing classes that cannot win there.

Every score of a tile is an average of sigmoids of the mask logits of a few patches. So the largest
and the smallest of these logits bound the score of a class all over the tile, and a class whose
upper bound lies under another one's lower bound wins nowhere in it. Most classes are ruled out that
way, and what is left is computed exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from cascade_clip.ops.argmax import RunningArgmax
from cascade_clip.ops.bilinear import (
    BilinearResize,
    interpolation_matrix,
    interpolation_rows,
    maps_per_chunk,
)

TILE = 64
"""Side of a tile in pixels of the result: a few patches, and a few tiles to a cache. In long,
narrow pictures tiles are longer, as far as they hold no more pixels."""

SLACK = 1e-5
"""By how much an upper bound must lie under a lower one: far more than rounding takes."""


@dataclass(frozen=True)
class Axis:
    """One axis of a picture, its windows and its result, in pixels."""

    output: int
    picture: int
    starts: tuple[int, ...]
    """Where the windows begin, ascending."""
    window: int
    """Length of a window."""
    padded: int
    """Length of a window with its padding, which its patches cover."""
    patches: int
    """Patches along a window."""
    upsampled: int | None
    """Length to which logits are upsampled before the sigmoid; None: `padded`."""

    def tile(self, shorter: Axis) -> int:
        """Length of the tiles along this axis: more than `TILE` where the other one is shorter than
        that, and the pixels of the result lie closer than those of the picture."""
        by_area = TILE**2 // min(TILE, shorter.output)
        return max(TILE, min(by_area, TILE * self.output // self.picture))


@dataclass(frozen=True)
class WindowSpan:
    """What one window gives to a tile, along one axis."""

    window: int
    place: slice
    """Where in the tile's source pixels."""
    patches: slice
    """Those of its patches that count."""
    before: Tensor
    """(S, patches): from these patches to what the sigmoid sees, if there is one."""
    after: Tensor | None
    """(pixels, S): from there to the pixels; None: it sees the pixels themselves."""


@dataclass(frozen=True)
class TileSpan:
    """One axis of a tile."""

    output: slice
    resize: Tensor | None
    """(output pixels, source pixels); None: they are the same."""
    overlaps: Tensor
    """(source pixels,): how many windows each lies in."""
    windows: tuple[WindowSpan, ...]


def best_by_tiles(logits: Tensor, offsets: Tensor, rows: Axis, columns: Axis) -> RunningArgmax:
    """The best class of every pixel of one picture, and its score.

    Args:
        logits: mask logits (windows, C, h, w), float32 or float64, the windows row by row.
        offsets: (C,), added to the scores.
        rows, columns: the two axes.
    """
    size = (rows.output, columns.output)
    best = RunningArgmax(size, dtype=logits.dtype, device=logits.device)
    for row, column in tiles(rows, columns, logits):
        tile = Tile(logits, offsets, row, column, len(columns.starts))
        place = best.part(row.output, column.output)
        for classes in tile.contenders().split(tile.classes_at_once()):
            place.update(tile.scores(classes), classes)
    return best


def tiles(rows: Axis, columns: Axis, logits: Tensor) -> Iterator[tuple[TileSpan, TileSpan]]:
    """All tiles, of which only the spans of the shorter axis are held."""
    spans = partial(tile_spans, dtype=logits.dtype, device=logits.device)
    if rows.output >= columns.output:
        across = list(spans(columns, TILE))
        yield from ((row, column) for row in spans(rows, rows.tile(columns)) for column in across)
    else:
        down = list(spans(rows, TILE))
        yield from ((row, column) for column in spans(columns, columns.tile(rows)) for row in down)


@dataclass(frozen=True)
class Tile:
    """A rectangle of one picture's result; `logits` and `offsets` as in `best_by_tiles`."""

    logits: Tensor
    offsets: Tensor
    row: TileSpan
    column: TileSpan
    windows_per_row: int
    sigmoid: bool = True
    """Whether windows give the sigmoid of their logits, or the logits."""

    def contenders(self) -> Tensor:
        """The classes, ascending, that may be the best one somewhere in the tile."""
        low, high = (torch.stack(bound) for bound in zip(*self._bounds(), strict=True))
        slack = SLACK + torch.finfo(low.dtype).eps * torch.maximum(-low.min(), high.max())
        lower = low.amin(dim=0).sigmoid_() + self.offsets  # (C,)
        upper = high.amax(dim=0).sigmoid_() + self.offsets  # (C,)
        # Put this way, NaN rules no class out.
        return (~(upper < lower.max() - slack)).nonzero().squeeze(1)

    def _bounds(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Smallest and largest logit of each class (C,), window by window."""
        for row, column in self._windows():
            cells = self._logits_of(row, column)[:, row.patches, column.patches]
            low, high = torch.aminmax(cells.flatten(1), dim=1)
            yield low, high

    def classes_at_once(self) -> int:
        return maps_per_chunk(
            self.row.overlaps.numel() * self.column.overlaps.numel(), self.logits.device
        )

    def scores(self, classes: Tensor) -> Tensor:
        """Scores (k, H, W) of the classes (k,) over the tile."""
        size = (len(self.row.overlaps), len(self.column.overlaps))
        if len(self.row.windows) == len(self.column.windows) == 1:
            total = self._window_scores(self.row.windows[0], self.column.windows[0], classes)
        else:
            total = self.logits.new_zeros(len(classes), *size)
            for row, column in self._windows():
                place = total[:, row.place, column.place]
                place.add_(self._window_scores(row, column, classes))
            total.div_(self.row.overlaps[:, None]).div_(self.column.overlaps)
        total.add_(self.offsets[classes, None, None])
        if self.row.resize is not None:
            total = self.row.resize @ total
        if self.column.resize is not None:
            total = total @ self.column.resize.T
        return total

    def _window_scores(self, row: WindowSpan, column: WindowSpan, classes: Tensor) -> Tensor:
        cells = self._logits_of(row, column)[classes][:, row.patches, column.patches]
        scores = BilinearResize(row.before, column.before)(cells)
        if self.sigmoid:
            scores.sigmoid_()
        if row.after is None or column.after is None:
            return scores
        return BilinearResize(row.after, column.after)(scores)

    def _windows(self) -> Iterator[tuple[WindowSpan, WindowSpan]]:
        return ((row, column) for row in self.row.windows for column in self.column.windows)

    def _logits_of(self, row: WindowSpan, column: WindowSpan) -> Tensor:
        return self.logits[row.window * self.windows_per_row + column.window]  # (C, h, w)


def tile_spans(
    axis: Axis, length: int, *, dtype: torch.dtype, device: torch.device
) -> Iterator[TileSpan]:
    """One axis cut into tiles of `length` pixels of the result."""
    starts = range(0, axis.output, length)
    parts = (slice(first, min(first + length, axis.output)) for first in starts)
    return axis_spans(axis, parts, dtype=dtype, device=device)


def axis_spans(
    axis: Axis, parts: Iterable[slice], *, dtype: torch.dtype, device: torch.device
) -> Iterator[TileSpan]:
    """Some parts of an axis, each a range of pixels of the result."""
    matrix = partial(interpolation_matrix, dtype=dtype, device=device)
    upsampled = axis.upsampled or axis.padded
    before = matrix(axis.patches, upsampled)
    after = None if axis.upsampled is None else matrix(axis.upsampled, axis.padded)
    overlaps = torch.zeros(axis.picture, dtype=dtype, device=device)
    for start in axis.starts:
        overlaps[start : start + axis.window] += 1
    for output in parts:
        source, resize = output, None
        if axis.output != axis.picture:
            source, resize = interpolation_rows(
                axis.picture, axis.output, output, dtype=dtype, device=device
            )
        windows = tuple(
            _window_span(number, start, axis, source, before, after)
            for number, start in enumerate(axis.starts)
            if start < source.stop and source.start < start + axis.window
        )
        yield TileSpan(output, resize, overlaps[source], windows)


def _window_span(
    number: int, start: int, axis: Axis, source: slice, before: Tensor, after: Tensor | None
) -> WindowSpan:
    """What window `number`, which begins at `start`, gives to the picture's pixels `source`."""
    first, last = max(source.start, start), min(source.stop, start + axis.window)
    seen = slice(first - start, last - start)  # in the window
    if after is not None:
        after = after[seen]
        seen = used_columns(after)
        after = after[:, seen]
    before = before[seen]
    patches = used_columns(before)
    place = slice(first - source.start, last - source.start)
    return WindowSpan(number, place, patches, before[:, patches], after)


def used_columns(matrix: Tensor) -> slice:
    """From the first to the last column that holds anything but zeros."""
    used = matrix.any(dim=0).nonzero().squeeze(1).tolist()
    return slice(used[0], used[-1] + 1)
