"""Focal and dice loss over one-hot targets at full size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def focal_and_dice(mask_logits: Tensor, labels: Tensor, ignore: int = 255) -> tuple[Tensor, Tensor]:
    """Mask logits (B, C, H, W) and labels (B, H, W) to `100 * focal` and `dice`."""
    classes = mask_logits.shape[1]
    ignored = labels == ignore
    one_hot = F.one_hot(labels.masked_fill(ignored, classes), classes + 1)[..., :classes]
    targets = one_hot.permute(0, 3, 1, 2).float()  # (B, C, H, W)
    present = targets.flatten(2).sum(dim=2) > 0  # (B, C)
    number = present.sum().clamp(min=1)
    focal = focal_loss(mask_logits.flatten(0, 1), targets.flatten(0, 1)) / number
    dice = dice_loss(mask_logits[present], targets[present]) / number
    return 100 * focal, dice


def focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2) -> Tensor:
    p = logits.sigmoid()  # (maps, H, W)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    right = p * targets + (1 - p) * (1 - targets)
    loss = cross_entropy * (1 - right) ** gamma
    loss = (alpha * targets + (1 - alpha) * (1 - targets)) * loss
    return loss.flatten(1).mean(dim=1).sum()


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    p, y = logits.sigmoid().flatten(1), targets.flatten(1)
    return (1 - (2 * (p * y).sum(dim=1) + 1) / (p.sum(dim=1) + y.sum(dim=1) + 1)).sum()


def pseudo_labels(mask_logits: Tensor, labels: Tensor, unseen: Tensor, ignore: int = 255) -> Tensor:
    """Labels (B, H, W) whose unseen classes are replaced by the best unseen class."""
    best = unseen[mask_logits.detach()[:, unseen].argmax(dim=1)]  # (B, H, W)
    return torch.where(torch.isin(labels, unseen) & (labels != ignore), best, labels)
