"""The structural similarity term of SPT-SEG's loss, a few class maps at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

WINDOW = 11
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2
PIXELS_AT_ONCE = 2**22
"""Upsampled values that are held at a time; more class maps than fit are worked off in turn."""


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
    at_once = max(1, PIXELS_AT_ONCE // pixels)
    total = mask_logits.new_zeros(())
    with torch.autocast(labels.device.type, enabled=False):  # variances are small differences
        for classes in torch.arange(num_classes, device=labels.device).split(at_once):
            # Recomputed in the backward pass, so that only one group of maps exists at a time.
            total = total + checkpoint(
                _similarity_sum, mask_logits[:, classes], labels, classes, use_reentrant=False
            )
    return 1 - total / (pixels * num_classes)


def _similarity_sum(mask_logits: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """The sum of the SSIM maps of some classes: logits (B, K, h, w), labels (B, H, W)."""
    x = F.interpolate(mask_logits, size=labels.shape[1:], mode="bilinear", align_corners=False)
    y = (labels[:, None] == classes[:, None, None]).to(x)  # (B, K, H, W)
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x = _blur(x * x) - mean_x**2
    variance_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + C1) * (2 * covariance + C2)) / (
        (mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2)
    )  # (B, K, H, W)
    return similarity.sum()


def _blur(maps: Tensor) -> Tensor:
    """Each map (B, K, H, W) under the Gaussian window, which is a row times a column."""
    offsets = torch.arange(WINDOW, device=maps.device, dtype=maps.dtype) - WINDOW // 2
    gaussian = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    gaussian = gaussian / gaussian.sum()
    flat = maps.flatten(0, 1)[:, None]  # (B*K, 1, H, W)
    flat = F.conv2d(flat, gaussian.view(1, 1, 1, WINDOW), padding=(0, WINDOW // 2))
    flat = F.conv2d(flat, gaussian.view(1, 1, WINDOW, 1), padding=(WINDOW // 2, 0))
    return flat[:, 0].unflatten(0, maps.shape[:2])
