"""The structural similarity term of SPT-SEG's loss, a few class maps at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from cascade_clip.ops.bilinear import maps_per_chunk
from cascade_clip.support.devices import without_autocast

WINDOW = 11
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2


def structural_dissimilarity(mask_logits: Tensor, labels: Tensor) -> Tensor:
    """1 - SSIM between upsampled mask logits and one-hot labels, a scalar.

    SSIM (Wang et al. 2004, Eq. 13) with an 11 x 11 Gaussian window of sigma 1.5, zero-padded, and
    the constants for a range of 1; the mean over the pixels of all B*C maps. As in the public code
    of SPT-SEG (arXiv 2312.12754), it looks at the logits themselves, not at their sigmoid, and a
    pixel without a class is 0 in every map.

    Args:
        mask_logits: (B, C, h, w) at any resolution; lower precisions are computed in float32.
        labels: (B, H, W) integers; values outside of 0..C-1 are no class.
    """
    if mask_logits.dtype != torch.float64:
        mask_logits = mask_logits.float()
    num_classes = mask_logits.shape[1]
    pixels = labels.numel()
    at_once = maps_per_chunk(pixels, labels.device)
    windows = tuple(_gaussian_band(side, mask_logits) for side in labels.shape[1:])
    total = mask_logits.new_zeros(())
    with without_autocast(labels.device):  # variances are small differences
        for classes in torch.arange(num_classes, device=labels.device).split(at_once):
            # Recomputed in the backward pass, so that only one group of maps exists at a time.
            total = total + checkpoint(
                _similarity_sum,
                mask_logits[:, classes],
                labels,
                classes,
                windows,
                use_reentrant=False,
            )
    return 1 - total / (pixels * num_classes)


def _similarity_sum(
    mask_logits: Tensor, labels: Tensor, classes: Tensor, windows: tuple[Tensor, Tensor]
) -> Tensor:
    """The sum of the SSIM maps of some classes: logits (B, K, h, w), labels (B, H, W)."""
    down, across = windows  # (H, H), (W, W)

    def blur(maps: Tensor) -> Tensor:
        return down @ (maps @ across)  # (B, K, H, W)

    x = F.interpolate(mask_logits, size=labels.shape[1:], mode="bilinear", align_corners=False)
    y = (labels[:, None] == classes[:, None, None]).to(x)  # (B, K, H, W)
    mean_x, mean_y = blur(x), blur(y)
    variance_x = blur(x * x) - mean_x**2
    variance_y = mean_y - mean_y**2  # y is 0 or 1, so y * y is y
    covariance = blur(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + C1) * (2 * covariance + C2)) / (
        (mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2)
    )  # (B, K, H, W)
    return similarity.sum()


def _gaussian_band(size: int, like: Tensor) -> Tensor:
    """(size, size): the zero-padded Gaussian window along one side, as a matrix.

    The window is a row times a column, and a product with a band matrix is many times faster on a
    CPU than a convolution of single-channel maps, most of all in the backward pass.
    """
    positions = torch.arange(size, device=like.device)
    distance = (positions[:, None] - positions).abs()  # (size, size)
    reach = WINDOW // 2
    weights = torch.exp(
        -(torch.arange(-reach, reach + 1, dtype=torch.float64) ** 2) / (2 * SIGMA**2)
    )
    weights = (weights / weights.sum()).to(like)
    return torch.where(distance <= reach, weights[(distance + reach).clamp(max=WINDOW - 1)], 0.0)
