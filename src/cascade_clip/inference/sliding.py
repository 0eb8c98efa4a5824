"""Sliding-window inference: windows in, scores or labels at any output size out.

The network sees windows; everything after it works on low-resolution mask logits, a few classes at
a time: upsample, sigmoid, average over windows, resize, and for labels a running arg-max. So memory
beyond those logits does not grow with the number of classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Required, TypedDict, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_clip.argmax import RunningArgmax
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.upsample import BilinearResize, maps_per_chunk

Size = tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """Where the windows of one picture lie: all of one `size` (height, width), in pixels."""

    size: Size
    origins: tuple[tuple[int, int], ...]
    """(top, left) of each window, row by row."""


def windows(picture: Size, crop: int, stride: int) -> Windows:
    """Windows of side `crop` every `stride` pixels; the last ones are moved back inside.

    There are `max(side - crop + stride - 1, 0) // stride + 1` along each side. A side shorter than
    the crop gets one window of its own length. Every pixel lies in at least one window.

    Raises:
        ValueError: unless 1 <= stride <= crop and the picture has pixels.
    """
    if not 1 <= stride <= crop:
        raise ValueError(f"stride must lie in 1..crop ({crop}), got {stride}")
    if min(picture) < 1:
        raise ValueError(f"the picture has no pixels: {picture[0]} x {picture[1]}")
    tops, lefts = (_starts(side, crop, stride) for side in picture)
    size = (min(crop, picture[0]), min(crop, picture[1]))
    return Windows(size, tuple((top, left) for top in tops for left in lefts))


class SlidingOptions(TypedDict, total=False):
    """The settings of `sliding_scores` and `sliding_labels`."""

    crop: Required[int]
    """Side of the windows in pixels."""
    stride: Required[int]
    """Step between windows in pixels, at most `crop`."""
    output_size: Required[Size]
    """(H0, W0) of the result, as a rule the size of the original picture."""
    seen: Tensor | None
    """(S,) indices of the classes whose score is lowered; None, the default: no class."""
    seen_score_offset: float | Tensor
    """By how much: one number, or one for each of `seen`, (S,); default 0. The released code takes
    0.1 in the inductive setting."""
    logit_size: Size | None
    """Size to which logits are upsampled before the sigmoid; the scores are then resized to the
    window. The released code does so with its training size. None, the default: the window's size,
    which is the same for windows of the training size."""
    window_batch: int
    """How many windows go through the network at once; default 8."""


def sliding_scores(
    network: SegmentationNetwork,
    image: Tensor,
    text_embeddings: Tensor,
    **options: Unpack[SlidingOptions],
) -> Tensor:
    """Scores of all classes at `output_size`.

    Args:
        network: in evaluation mode; image and text embeddings are on its device.
        image: (B, 3, H, W), normalised, of any size: windows whose sides are no multiples of the
            patch are padded at the right and the bottom by repeating the border, and their logits
            are cut again.
        text_embeddings: (C, d), L2-normalised.
        options: see `SlidingOptions`.

    Returns:
        (B, C, H0, W0) float32: sigmoid scores in [0, 1], averaged over windows, minus the offset.
    """
    predicted = _predict(network, image, text_embeddings, **options)
    scores = [
        torch.cat([chunk for _, chunk in predicted.scores(index)]) for index in range(len(image))
    ]
    return torch.stack(scores)  # (B, C, H0, W0)


def sliding_labels(
    network: SegmentationNetwork,
    image: Tensor,
    text_embeddings: Tensor,
    **options: Unpack[SlidingOptions],
) -> Tensor:
    """The arg-max over classes of `sliding_scores`, without holding the scores of all classes.

    Arguments as in `sliding_scores`. Of equal scores the first class wins.

    Returns:
        (B, H0, W0) int64 in 0..C-1.
    """
    return sliding_best(network, image, text_embeddings, **options)[0]


def sliding_best(
    network: SegmentationNetwork,
    image: Tensor,
    text_embeddings: Tensor,
    **options: Unpack[SlidingOptions],
) -> tuple[Tensor, Tensor]:
    """`sliding_labels` and the scores of these labels, both (B, H0, W0)."""
    predicted = _predict(network, image, text_embeddings, **options)
    results = [predicted.best(index) for index in range(len(image))]
    labels = torch.stack([best.labels for best in results])  # (B, H0, W0)
    return labels, torch.stack([best.scores for best in results])


@torch.no_grad()
def _predict(
    network: SegmentationNetwork,
    image: Tensor,
    text_embeddings: Tensor,
    *,
    crop: int,
    stride: int,
    output_size: Size,
    seen: Tensor | None = None,
    seen_score_offset: float | Tensor = 0.0,
    logit_size: Size | None = None,
    window_batch: int = 8,
) -> _WindowLogits:
    """Run the network over all windows of the pictures (B, 3, H, W)."""
    picture = (image.shape[2], image.shape[3])
    places = windows(picture, crop, stride)
    height, width = places.size
    patch = network.encoder.patch_size
    padding = (-height % patch[0], -width % patch[1])
    per_pass = max(1, window_batch // len(image))
    passes = []
    for first in range(0, len(places.origins), per_pass):
        crops = torch.cat(
            [
                image[:, :, top : top + height, left : left + width]
                for top, left in places.origins[first : first + per_pass]
            ]
        )  # (windows of this pass * B, 3, height, width)
        if any(padding):
            crops = F.pad(crops, (0, padding[1], 0, padding[0]), mode="replicate")
        part = network(crops, text_embeddings).mask_logits
        passes.append(part.unflatten(0, (-1, len(image))))  # (windows of this pass, B, C, h, w)
    logits = torch.cat(passes)
    return _WindowLogits(
        logits=logits,
        windows=places,
        picture=picture,
        padded=(height + padding[0], width + padding[1]),
        logit_size=logit_size,
        output_size=output_size,
        offset=_class_offsets(logits, seen, seen_score_offset),
    )


@dataclass(frozen=True)
class _WindowLogits:
    """Mask logits of all windows of B pictures, at the resolution of the patch grid."""

    logits: Tensor
    """(windows, B, C, h, w)"""
    windows: Windows
    picture: Size
    padded: Size
    """Size of a window with its padding, which the patch grid covers."""
    logit_size: Size | None
    output_size: Size
    offset: Tensor
    """(C,): what to subtract from the score of each class."""

    @property
    def dtype(self) -> torch.dtype:
        """In which scores are computed."""
        return torch.promote_types(self.logits.dtype, torch.float32)

    def best(self, index: int) -> RunningArgmax:
        """The best class of every pixel of picture `index`."""
        best = RunningArgmax(self.output_size, dtype=self.dtype, device=self.logits.device)
        for first, scores in self.scores(index):
            best.update(scores, first)
        return best

    def scores(self, index: int) -> Iterator[tuple[int, Tensor]]:
        """(first class, scores (k, H0, W0)) of picture `index`, a few classes at a time."""
        upsample = self._resize(self.logit_size or self.padded)
        if self.logit_size is None:
            upsample = upsample.cut(*self.windows.size)
        overlaps = self._overlaps()
        pixels = max(math.prod(self.picture), math.prod(self.output_size))
        length = maps_per_chunk(pixels, self.logits.device)
        for first in range(0, self.logits.shape[2], length):
            classes = slice(first, first + length)
            with torch.autocast(self.logits.device.type, enabled=False):
                scores = self._sum_over_windows(index, classes, upsample)  # (k, H, W)
                if overlaps is not None:
                    scores.div_(overlaps)
                scores.sub_(self.offset[classes, None, None])
                scores = _resize_bilinear(scores, self.output_size)  # (k, H0, W0)
            yield first, scores

    def _sum_over_windows(self, index: int, classes: slice, upsample: BilinearResize) -> Tensor:
        if len(self.windows.origins) == 1:
            return self._window_scores(0, index, classes, upsample)
        height, width = self.windows.size
        count = len(self.offset[classes])
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


def _starts(side: int, crop: int, stride: int) -> list[int]:
    count = max(side - crop + stride - 1, 0) // stride + 1
    return [max(min(step * stride, side - crop), 0) for step in range(count)]


def _class_offsets(
    logits: Tensor, seen: Tensor | None, seen_score_offset: float | Tensor
) -> Tensor:
    offset = torch.zeros(logits.shape[2], device=logits.device)
    if seen is not None:
        offset[seen.to(logits.device)] = seen_score_offset
    return offset  # (C,)


def _resize_bilinear(maps: Tensor, size: Size) -> Tensor:
    """(k, H, W) -> (k, *size)."""
    if tuple(maps.shape[1:]) == size:
        return maps
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0]
