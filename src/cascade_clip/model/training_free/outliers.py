"""Patches unlike all others in their picture, and their replacement by what lies around them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def find_outliers(patches: Tensor, neighbours: int, share: float) -> Tensor:
    """Whether each of the patches (B, N, D) is among the `share` of highest outlier factors:
    (B, N)."""
    factor = outlier_factor(patches, neighbours)  # (B, N)
    return factor > quantile(factor, 1 - share)[:, None]


def outlier_factor(patches: Tensor, neighbours: int) -> Tensor:
    """Local outlier factor (B, N) of patches (B, N, D), as in SC-CLIP's released code.

    There a neighbour lies at least as far as the patch's own last neighbour, where the textbook
    takes the neighbour's. That leaves the mean, over `neighbours` nearest patches, of the patch's
    distance to its last neighbour over theirs to their last; distances are squared.
    """
    # With all others as neighbours, the two patches that lie farthest apart would tie.
    neighbours = min(neighbours, (patches.shape[1] - 1) // 2)
    if neighbours < 1:
        return patches.new_ones(patches.shape[:2])
    centred = patches - patches.mean(dim=1, keepdim=True)  # for the precision of the products
    lengths = centred.square().sum(dim=-1)  # (B, N)
    distances = lengths[:, :, None] + lengths[:, None] - 2 * centred @ centred.mT  # (B, N, N)
    itself = torch.eye(distances.shape[1], dtype=torch.bool, device=distances.device)
    distances = distances.masked_fill(itself, -1)  # first of all, and no neighbour of its own
    nearest = distances.topk(neighbours + 1, dim=-1, largest=False)
    farthest, indices = nearest.values[..., -1].clamp(min=0), nearest.indices[..., 1:]
    theirs = farthest.gather(1, indices.flatten(1)).unflatten(1, indices.shape[1:])  # (B, N, k)
    return (farthest[..., None] / theirs).mean(dim=-1)


def quantile(values: Tensor, share: float) -> Tensor:
    """`torch.quantile` along the last dimension, which can't be exported."""
    position = share * (values.shape[-1] - 1)
    below = int(position)
    ascending = values.sort(dim=-1).values
    low, high = ascending[..., below], ascending[..., min(below + 1, values.shape[-1] - 1)]
    return low + (position - below) * (high - low)


def replace_outliers(patches: Tensor, outliers: Tensor, grid: tuple[int, int]) -> Tensor:
    """Patches (B, N, D) whose outliers (B, N) are the mean of those of their eight neighbours in
    the picture that are none; an outlier without such neighbours stays."""
    kept = (~outliers)[..., None].to(patches.dtype)  # (B, N, 1)
    with_count = torch.cat([patches * kept, kept], dim=-1)  # (B, N, D + 1)
    plane = with_count.mT.unflatten(2, grid)  # (B, D + 1, h, w)
    # Ninths of the sums over 3 x 3 patches, to which outliers themselves give nothing. (A divisor
    # of one's own is lost in ONNX files.)
    ninths = F.avg_pool2d(plane, 3, stride=1, padding=1).flatten(2).mT  # (B, N, D + 1)
    total, count = ninths[..., :-1], ninths[..., -1:]
    replaced = outliers[..., None] & (count > 0)
    return torch.where(replaced, total / torch.where(count > 0, count, 1.0), patches)
