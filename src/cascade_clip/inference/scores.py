"""From the mask logits of windows to scores or labels at any size, a few classes at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_clip.inference.softmax import SoftmaxScores
from cascade_clip.inference.tiles import Axis, best_by_tiles
from cascade_clip.inference.windows import Size, Windows
from cascade_clip.ops.argmax import RunningArgmax
from cascade_clip.ops.bilinear import BilinearResize, maps_per_chunk
from cascade_clip.support.devices import without_autocast


@dataclass(frozen=True)
class WindowLogits:
    """Mask logits of all windows of B pictures, at the resolution of the patch grid."""

    logits: Tensor
    """(windows, B, C, h, w)"""
    windows: Windows
    picture: Size
    padded: Size
    """Size of a window with its padding, which the patch grid covers."""
    logit_size: Size | None
    output_size: Size
    offsets: Tensor
    """(C,): added to the score of each class."""
    logit_scale: float | None = None
    """Scores are a softmax over the classes of logits times this; None: sigmoids of the logits."""
    guides: Tensor | None = None
    """(B, 3, H, W): with a softmax, pictures by whose edges logits are refined; None: not."""

    @property
    def dtype(self) -> torch.dtype:
        """In which scores are computed."""
        return torch.promote_types(self.logits.dtype, torch.float32)

    def best(self, index: int) -> RunningArgmax:
        """The best class of every pixel of picture `index`."""
        if self.logit_scale is not None:
            with without_autocast(self.logits.device):
                return self._softmax(index, self.logit_scale).best()
        if self.logits.device.type != "cpu":
            return self.best_by_classes(index)
        with without_autocast(self.logits.device):
            return best_by_tiles(self.logits[:, index].to(self.dtype), self.offsets, *self._axes())

    def best_by_classes(self, index: int) -> RunningArgmax:
        """The same, a few classes at a time at full size: fewer and larger steps, for GPUs."""
        device = self.logits.device
        best = RunningArgmax(self.output_size, dtype=self.dtype, device=device)
        classes = torch.arange(len(self.offsets), device=device)
        for first, scores in self.scores(index):
            best.update(scores, classes[first : first + len(scores)])
        return best

    def _axes(self) -> tuple[Axis, Axis]:
        starts = (sorted(set(along)) for along in zip(*self.windows.origins, strict=True))
        rows, columns = (
            Axis(
                output=self.output_size[axis],
                picture=self.picture[axis],
                starts=tuple(begin),
                window=self.windows.size[axis],
                padded=self.padded[axis],
                patches=self.logits.shape[3 + axis],
                upsampled=None if self.logit_size is None else self.logit_size[axis],
            )
            for axis, begin in enumerate(starts)
        )
        return rows, columns

    def _softmax(self, index: int, scale: float) -> SoftmaxScores:
        rows, columns = self._axes()
        guide = None
        if self.guides is not None:
            guide = _resize_bilinear(self.guides[index].to(self.dtype), self.output_size)
        cosines = self.logits[:, index].to(self.dtype)
        return SoftmaxScores(cosines, rows, columns, scale, self.offsets, guide)

    def scores(self, index: int) -> Iterator[tuple[int, Tensor]]:
        """(first class, scores (k, H0, W0)) of picture `index`, a few classes at a time; those of a
        softmax all at once."""
        if self.logit_scale is not None:
            with without_autocast(self.logits.device):
                yield 0, self._softmax(index, self.logit_scale).scores()
            return
        upsample = self._resize(self.logit_size or self.padded)
        if self.logit_size is None:
            upsample = upsample.cut(*self.windows.size)
        overlaps = self._overlaps()
        pixels = max(math.prod(self.picture), math.prod(self.output_size))
        length = maps_per_chunk(pixels, self.logits.device)
        for first in range(0, self.logits.shape[2], length):
            classes = slice(first, first + length)
            with without_autocast(self.logits.device):
                scores = self._sum_over_windows(index, classes, upsample)  # (k, H, W)
                if overlaps is not None:
                    scores.div_(overlaps)
                scores.add_(self.offsets[classes, None, None])
                scores = _resize_bilinear(scores, self.output_size)  # (k, H0, W0)
            yield first, scores

    def _sum_over_windows(self, index: int, classes: slice, upsample: BilinearResize) -> Tensor:
        if len(self.windows.origins) == 1:
            return self._window_scores(0, index, classes, upsample)
        height, width = self.windows.size
        count = len(self.offsets[classes])
        total = self.logits.new_zeros(count, *self.picture, dtype=self.dtype)
        for window, (top, left) in enumerate(self.windows.origins):
            place = total[:, top : top + height, left : left + width]
            place.add_(self._window_scores(window, index, classes, upsample))
        return total

    def _window_scores(
        self, window: int, index: int, classes: slice, upsample: BilinearResize
    ) -> Tensor:
        logits = self.logits[window, index, classes].to(self.dtype)  # (k, h, w)
        scores = upsample(logits).sigmoid_()
        if self.logit_size is None:
            return scores
        height, width = self.windows.size
        return _resize_bilinear(scores, self.padded)[:, :height, :width]

    def _resize(self, size: Size) -> BilinearResize:
        grid = (self.logits.shape[3], self.logits.shape[4])
        return BilinearResize.between(grid, size, dtype=self.dtype, device=self.logits.device)

    def _overlaps(self) -> Tensor | None:
        """In how many windows each pixel lies: (H, W); None for a single window."""
        if len(self.windows.origins) == 1:
            return None
        count = self.logits.new_zeros(self.picture, dtype=self.dtype)
        height, width = self.windows.size
        for top, left in self.windows.origins:
            count[top : top + height, left : left + width] += 1
        return count


def _resize_bilinear(maps: Tensor, size: Size) -> Tensor:
    """(k, H, W) -> (k, *size)."""
    if tuple(maps.shape[1:]) == size:
        return maps
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
