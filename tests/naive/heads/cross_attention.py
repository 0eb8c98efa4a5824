"""ZegCLIP's and Cascade-CLIP's head."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from cascade_clip.config.heads import CrossAttentionSettings
from tests.naive.heads.cascade import stage_inputs
from tests.naive.layers import NaiveLevels, State, attention, head_scores, linear, norm


def stage_logits(
    state: State, settings: CrossAttentionSettings, levels: NaiveLevels, text: Tensor
) -> list[Tensor]:
    """Mask logits (C, h, w) of one image, per stage; text embeddings (C, 1, d)."""
    return [
        decode(state, settings, stage, queries, patches).unflatten(1, levels.grid)
        for stage, queries, patches in stage_inputs(state, settings, levels, text[:, 0])
    ]


def decode(
    state: State, settings: CrossAttentionSettings, stage: int, queries: Tensor, patches: Tensor
) -> Tensor:
    """Mask logits (C, N) of one image."""
    heads = settings.decoder_heads
    for layer in range(settings.decoder_layers - 1):
        path = f"head.decoders.{stage}.layers.{layer}"
        projected = (linear(state, f"{path}.query", queries),)
        projected += tuple(linear(state, f"{path}.{name}", patches) for name in ("key", "value"))
        attended = attention(*projected, heads)
        queries = norm(
            state, f"{path}.attention_norm", queries + linear(state, f"{path}.out", attended)
        )
        hidden = F.relu(linear(state, f"{path}.expand", queries))
        queries = norm(
            state, f"{path}.feedforward_norm", queries + linear(state, f"{path}.contract", hidden)
        )
    path = f"head.decoders.{stage}.scores"
    scores = head_scores(
        linear(state, f"{path}.query", queries), linear(state, f"{path}.key", patches), heads
    )
    return sum(scores) / heads
