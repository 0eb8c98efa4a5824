"""RPN's head."""

from __future__ import annotations

import math

from torch import Tensor

from cascade_clip.config.heads import RpnSettings
from tests.naive.heads.cascade import stage_inputs
from tests.naive.layers import NaiveLevels, State, linear, norm


def stage_logits(
    state: State, settings: RpnSettings, levels: NaiveLevels, text: Tensor
) -> list[Tensor]:
    """Mask logits (C, h, w) of one image, per stage; text embeddings (C, 1, d)."""
    stages = []
    for stage, queries, patches in stage_inputs(state, settings, levels, text[:, 0]):
        path = f"head.decoders.{stage}"
        queries = norm(state, f"{path}.query_norm", linear(state, f"{path}.query", queries))
        patches = norm(state, f"{path}.patch_norm", linear(state, f"{path}.patch", patches))
        logits = queries @ patches.T / math.sqrt(text.shape[-1])  # (C, N)
        stages.append(logits.unflatten(1, levels.grid))
    return stages
