"""Bilinear resizing as two small matrix products, and its adjoint.

Bilinear interpolation is linear and separable: a map X (h, w) becomes U X V^T, where each row of
U (H, h) and V (W, w) holds the two weights of one target pixel. For the large factors between a
patch grid and a picture this is faster than gathering pixels, and the gradient is U^T G V.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Size = tuple[int, int]

_CHUNK_ELEMENTS_CPU = 2**18  # a few buffers of this many floats stay in the cache
_CHUNK_ELEMENTS_DEVICE = 2**24  # large enough to fill an accelerator, small against its memory


def maps_per_chunk(pixels: int, device: torch.device) -> int:
    """How many maps of `pixels` pixels to hold at once on `device`; at least 1."""
    budget = _CHUNK_ELEMENTS_CPU if device.type == "cpu" else _CHUNK_ELEMENTS_DEVICE
    return max(1, budget // max(1, pixels))


def interpolation_matrix(
    source: int, target: int, *, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Weights (target, source) of 1-D linear interpolation, as `align_corners=False` defines it.

    Target pixel i looks at position (i + 1/2) * source / target - 1/2, not below 0; beyond the last
    source pixel that pixel is repeated. Positions are computed in `dtype`, as in
    `torch.nn.functional.interpolate`, so that both agree on long axes too.
    """
    left, right, fraction = _neighbours(source, target, slice(0, target), dtype, device)
    return _weights(left, right, fraction, source)  # (target, source)


def interpolation_rows(
    source: int, target: int, rows: slice, *, dtype: torch.dtype, device: torch.device
) -> tuple[slice, Tensor]:
    """Some rows of `interpolation_matrix`, cut to the source pixels that they look at: these, and
    the weights (rows, these). The whole matrix is never held, so that long axes take no more."""
    left, right, fraction = _neighbours(source, target, rows, dtype, device)
    first, last = int(left[0]), int(right[-1])  # both ascend
    return slice(first, last + 1), _weights(left - first, right - first, fraction, last + 1 - first)


def _neighbours(
    source: int, target: int, rows: slice, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """The two source pixels of each target pixel, and how far it lies towards the right one."""
    position = torch.arange(rows.start, rows.stop, dtype=dtype, device=device).add_(0.5)
    position = position.mul_(source / target).sub_(0.5).clamp_(min=0)
    left = position.floor().long().clamp_(max=source - 1)
    right = (left + 1).clamp_(max=source - 1)
    return left, right, position - left


def _weights(left: Tensor, right: Tensor, fraction: Tensor, source: int) -> Tensor:
    matrix = fraction.new_zeros(len(fraction), source)
    matrix.scatter_add_(1, left[:, None], 1 - fraction[:, None])
    return matrix.scatter_add_(1, right[:, None], fraction[:, None])  # (rows, source)


@dataclass(frozen=True)
class BilinearResize:
    """Resizes maps (..., h, w) to (..., H, W); `rows` is (H, h) and `columns` (W, w)."""

    rows: Tensor
    columns: Tensor

    @classmethod
    def between(
        cls, source: Size, target: Size, *, dtype: torch.dtype, device: torch.device
    ) -> BilinearResize:
        """The resize that equals `interpolate(..., mode="bilinear", align_corners=False)`."""
        return cls(
            interpolation_matrix(source[0], target[0], dtype=dtype, device=device),
            interpolation_matrix(source[1], target[1], dtype=dtype, device=device),
        )

    def cut(self, height: int, width: int) -> BilinearResize:
        """The same resize, of which only the top-left `height` x `width` pixels are computed."""
        return BilinearResize(self.rows[:height], self.columns[:width])

    def __call__(self, maps: Tensor) -> Tensor:
        return torch.matmul(torch.matmul(self.rows, maps), self.columns.T)  # (..., H, W)

    def adjoint(self, gradient: Tensor) -> Tensor:
        """Gradient (..., H, W) of the resized maps -> gradient (..., h, w) of the maps."""
        return torch.matmul(self.rows.T, torch.matmul(gradient, self.columns))  # (..., h, w)
