"""Learning rate over the steps of a run, and the optimizer's groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn

from cascade_clip.config import TrainSettings

RELATIONSHIP_PROMPTS = "encoder.relationship_prompts."
"""What begins the names of weights that `relationship_lr_factor` is for."""


def learning_rate(step: int, settings: TrainSettings, factor: float = 1.0) -> float:
    """Learning rate of a step (counted from 0): polynomial decay with linear warm-up.

    As the released code of ZegCLIP and Cascade-CLIP sets it: with T steps, W warm-up steps, base
    rate b, least rate m, power p and warm-up ratio r,
    [(b - m)(1 - t/T)^p + m] * [1 - (1 - t/W)(1 - r)], the second factor only for t < W. `factor`
    is one on b alone: all weights come down to the same least rate.
    """
    left = max(0.0, 1.0 - step / settings.steps)
    rate = (factor * settings.lr - settings.min_lr) * left**settings.power + settings.min_lr
    if step < settings.warmup_steps:
        rate *= 1.0 - (1.0 - step / settings.warmup_steps) * (1.0 - settings.warmup_ratio)
    return rate


def build_optimizer(
    parameters: Mapping[str, nn.Parameter], settings: TrainSettings
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW over trained parameters by name, and the schedule of its learning rates.

    All parameters decay, as released (norms and biases too). They are one group, but for the
    weights of relationship prompts where `relationship_lr_factor` isn't 1.
    """
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    for name, parameter in parameters.items():
        related = name.startswith(RELATIONSHIP_PROMPTS)
        factor = settings.relationship_lr_factor if related else 1.0
        groups.setdefault(factor, []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": group} for group in groups.values()],
        lr=settings.lr,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    rates: list[Callable[[int], float]] = [
        partial(_share_of_base, settings=settings, factor=factor) for factor in groups
    ]
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rates)


def _share_of_base(step: int, settings: TrainSettings, factor: float) -> float:
    return learning_rate(step, settings, factor) / settings.lr
