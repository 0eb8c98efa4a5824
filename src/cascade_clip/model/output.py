"""What a network gives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cascade_clip.model.levels import Levels


@dataclass(frozen=True)
class Output:
    """B images, C classes, patch grid h x w; all before the sigmoid."""

    mask_logits: Tensor
    """(B, C, h, w): summed over the stages."""
    stage_logits: tuple[Tensor, ...]
    """(B, C, h, w) for each of the settings' `stages_read`."""
    levels: Levels


def sum_of_stages(stage_logits: tuple[Tensor, ...], levels: Levels) -> Output:
    """The output whose mask logits are the sum of `stage_logits`, (B, C, h, w) each."""
    return Output(torch.stack(stage_logits).sum(dim=0), stage_logits, levels)
