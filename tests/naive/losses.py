"""The loss as its formula reads, holding everything at full size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def focal_and_dice(
    mask_logits: Tensor, labels: Tensor, alpha: float, gamma: float, ignore: int = 255
) -> tuple[Tensor, Tensor]:
    """(B, C, h, w), (B, H, W) -> unweighted focal and dice."""
    z = F.interpolate(mask_logits, size=labels.shape[1:], mode="bilinear", align_corners=False)
    classes = torch.arange(z.shape[1], device=z.device)[None, :, None, None]
    y = ((labels[:, None] == classes) & (labels[:, None] != ignore)).to(z)  # (B, C, H, W)
    present = y.flatten(2).amax(2) > 0  # (B, C)
    n = present.sum().clamp(min=1)
    cross_entropy = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    wrong = torch.sigmoid(torch.where(y > 0, -z, z))
    focal = (torch.where(y > 0, alpha, 1 - alpha) * wrong**gamma * cross_entropy).mean((2, 3)).sum()
    p = z.sigmoid()
    dice = 1 - (2 * (p * y).sum((2, 3)) + 1) / (p.sum((2, 3)) + y.sum((2, 3)) + 1)
    return focal / n, dice[present].sum() / n


def structural_dissimilarity(mask_logits: Tensor, labels: Tensor) -> Tensor:
    """(B, C, h, w), (B, H, W) -> 1 - mean SSIM, with the two-dimensional window written out."""
    z = F.interpolate(mask_logits, size=labels.shape[1:], mode="bilinear", align_corners=False)
    classes = torch.arange(z.shape[1])[None, :, None, None]
    x = z.flatten(0, 1)[:, None]  # (B*C, 1, H, W)
    y = (labels[:, None] == classes).to(z).flatten(0, 1)[:, None]
    place = torch.arange(-5, 6)
    window = torch.exp(-(place[:, None] ** 2 + place[None, :] ** 2) / (2 * 1.5**2)).to(z)
    window = (window / window.sum())[None, None]  # (1, 1, 11, 11)
    mx, my = (F.conv2d(m, window, padding=5) for m in (x, y))
    vx, vy, vxy = (
        F.conv2d(a * b, window, padding=5) - ma * mb
        for a, b, ma, mb in ((x, x, mx, mx), (y, y, my, my), (x, y, mx, my))
    )
    similarity = (2 * mx * my + 0.01**2) * (2 * vxy + 0.03**2)
    return 1 - (similarity / ((mx**2 + my**2 + 0.01**2) * (vx + vy + 0.03**2))).mean()
