"""Learning rate over the steps of a run, and the optimizer's groups."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from cascade_clip.config import TrainSettings


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Learning rate of a step (counted from 0): polynomial decay with linear warm-up.

    As the released code of ZegCLIP and Cascade-CLIP sets it: with T steps, W warm-up steps, base
    rate b, least rate m, power p and warm-up ratio r,
    [(b - m)(1 - t/T)^p + m] * [1 - (1 - t/W)(1 - r)], the second factor only for t < W.
    """
    left = max(0.0, 1.0 - step / settings.steps)
    rate = (settings.lr - settings.min_lr) * left**settings.power + settings.min_lr
    if step < settings.warmup_steps:
        rate *= 1.0 - (1.0 - step / settings.warmup_steps) * (1.0 - settings.warmup_ratio)
    return rate


def build_optimizer(
    parameters: Iterable[nn.Parameter], settings: TrainSettings
) -> torch.optim.AdamW:
    """AdamW with one group: all trained parameters decay, as released (norms and biases too)."""
    return torch.optim.AdamW(
        list(parameters),
        lr=settings.lr,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=settings.weight_decay,
        fused=True,
    )
