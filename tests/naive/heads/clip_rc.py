"""CLIP-RC's head."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.config.heads import ClipRcSettings
from tests.naive.heads.cascade import aggregate
from tests.naive.layers import NaiveLevels, State, attention, linear, norm


@dataclass(frozen=True)
class NaiveStage:
    """One stage of one image: R regions, C classes, N patches."""

    query_inputs: Tensor  # (R * C, 2d)
    query_starts: Tensor  # (R * C, d)
    features: Tensor  # (N, d)
    queries: Tensor  # (R * C, d)
    patches: Tensor  # (N, d)
    per_region: Tensor  # (R, C, h, w)


def stage_logits(
    state: State, settings: ClipRcSettings, levels: NaiveLevels, text: Tensor
) -> list[Tensor]:
    """Mask logits (C, h, w) of one image, per stage; text embeddings (C, 1, d)."""
    return [stage.per_region.mean(0) for stage in stages(state, settings, levels, text[:, 0])]


def stages(
    state: State, settings: ClipRcSettings, levels: NaiveLevels, text: Tensor
) -> list[NaiveStage]:
    """Every stage, for text embeddings (C, d)."""
    found = []
    for stage, blocks in enumerate(settings.stages_read):
        features, regions = (
            aggregate(state, settings, stage, [level[block] for block in blocks])
            for level in (levels.features, levels.regions)
        )
        inputs = torch.cat(
            [
                torch.cat([(region + levels.global_embedding) * text, text], dim=-1)
                for region in regions
            ]
        )  # (R * C, 2d)
        index = 0 if settings.shared_queries else stage
        starts = queries = linear(state, f"head.query_projections.{index}.linear", inputs)
        patches = linear(
            state, f"head.lateral_projections.{stage}", lateral(levels, features, regions)
        )
        for layer in range(settings.decoder_layers):
            path = f"head.decoders.{stage}.layers.{layer}"
            queries, patches = two_way(state, path, settings.decoder_heads, queries, patches)
        logits = (queries @ patches.T).unflatten(0, (len(regions), len(text)))
        found.append(
            NaiveStage(inputs, starts, features, queries, patches, logits.unflatten(2, levels.grid))
        )
    return found


def lateral(levels: NaiveLevels, features: Tensor, regions: Tensor) -> Tensor:
    """What the lateral projection takes (N, 3d)."""
    side = int(len(regions) ** 0.5)
    cells = regions.reshape(side, side, -1).permute(2, 0, 1)[None]  # (1, d, r, r)
    resized = F.interpolate(cells, size=levels.grid, mode="bilinear", align_corners=False)
    everywhere = levels.global_embedding.expand_as(features)
    return torch.cat([resized[0].flatten(1).T, everywhere, features], dim=-1)


def two_way(
    state: State, path: str, heads: int, queries: Tensor, patches: Tensor
) -> tuple[Tensor, Tensor]:
    return (
        layer(state, f"{path}.queries", heads, queries, patches),
        layer(state, f"{path}.patches", heads, patches, queries),
    )


def layer(state: State, path: str, heads: int, tokens: Tensor, memory: Tensor) -> Tensor:
    attended = attention(
        linear(state, f"{path}.query", tokens),
        linear(state, f"{path}.key", memory),
        linear(state, f"{path}.value", memory),
        heads,
    )
    tokens = tokens + linear(state, f"{path}.out", attended)
    tokens = norm(state, f"{path}.attention_norm", tokens)
    hidden = linear(state, f"{path}.contract", F.relu(linear(state, f"{path}.expand", tokens)))
    return norm(state, f"{path}.feedforward_norm", tokens + hidden)


def recovered(state: State, settings: ClipRcSettings, stage: NaiveStage) -> tuple[Tensor, Tensor]:
    """Query inputs (R * C, 2d) and patch features (N, d), as recovered in training."""
    queries, patches = two_way(
        state,
        "head.recovery.layer",
        settings.decoder_heads,
        linear(state, "head.recovery.queries_in", stage.queries),
        linear(state, "head.recovery.patches_in", stage.patches),
    )
    return (
        linear(state, "head.recovery.queries_out", queries),
        linear(state, "head.recovery.patches_out", patches),
    )
