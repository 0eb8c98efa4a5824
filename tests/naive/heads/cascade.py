"""What goes into the decoder of each stage."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cascade_clip.config.heads import StagedSettings
from tests.naive.layers import NaiveLevels, State, attention, linear


def stage_inputs(
    state: State, settings: StagedSettings, levels: NaiveLevels, text: Tensor
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Per stage its index, queries (C, d) and feature (N, d)."""
    for stage, blocks in enumerate(settings.stages):
        features = [levels.features[block] for block in blocks if block in levels.features]
        feature = aggregate(state, settings, stage, features)
        yield stage, query(state, settings, stage, text, levels.global_embedding), feature


def aggregate(state: State, settings: StagedSettings, stage: int, levels: list[Tensor]) -> Tensor:
    kind, blocks = settings.aggregation, settings.stages[stage]
    path = f"head.aggregations.{stage}"
    if len(levels) == 1 or kind == "last":
        return levels[-1]
    if kind in ("nga", "sum-trained"):
        return sum(w * level for w, level in zip(state[f"{path}.weights"], levels, strict=True))
    if kind == "nga-fixed":
        distances = torch.tensor([float(blocks[-1] - block) for block in blocks])
        weights = torch.exp(-0.5 * (distances / settings.sigma) ** 2)
        return sum(w * level for w, level in zip(weights, levels, strict=True))
    if kind == "sum":
        return sum(levels)
    if kind == "mean":
        return sum(levels) / len(levels)
    if kind == "concat":
        return linear(state, f"{path}.linear", torch.cat(levels, dim=-1))
    patches = []
    for tokens in torch.stack(levels, dim=1):  # (K, d)
        queries, keys, values = linear(state, f"{path}.qkv", tokens).chunk(3, dim=-1)
        attended = attention(queries, keys, values, settings.attention_heads)
        patches.append((tokens + linear(state, f"{path}.out", attended)).mean(0))
    return torch.stack(patches)


def query(
    state: State, settings: StagedSettings, stage: int, text: Tensor, global_embedding: Tensor
) -> Tensor:
    index = 0 if settings.shared_queries else stage
    if settings.relationship_descriptor:
        text = torch.cat([text * global_embedding, text], dim=-1)  # (C, 2d)
    return linear(state, f"head.query_projections.{index}.linear", text)
