"""SPT-SEG's head."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.config.heads import SpectralSettings
from tests.naive.heads.cascade import stage_inputs
from tests.naive.layers import NaiveLevels, State, attention, linear, norm, unit


def stage_logits(
    state: State, settings: SpectralSettings, levels: NaiveLevels, text: Tensor
) -> list[Tensor]:
    """Mask logits (C, h, w) of one image, per stage; text embeddings (C, 1, d)."""
    grid = levels.grid
    return [
        decode(state, settings, stage, queries, patches, grid).unflatten(1, grid)
        for stage, queries, patches in stage_inputs(state, settings, levels, text[:, 0])
    ]


def decode(
    state: State,
    settings: SpectralSettings,
    stage: int,
    queries: Tensor,
    patches: Tensor,
    grid: tuple[int, int],
) -> Tensor:
    """Mask logits (C, N) of one image."""
    heads = settings.decoder_heads
    for layer in range(settings.decoder_layers - 1):
        path = f"head.decoders.{stage}.layers.{layer}"
        mixed = mix_frequencies(state, f"{path}.mixer", patches, grid, heads)
        attended = (queries @ mixed.T).softmax(-1) @ mixed
        queries = norm(
            state, f"{path}.attention_norm", queries + linear(state, f"{path}.out", attended)
        )
        hidden = F.relu(linear(state, f"{path}.expand", queries))
        queries = norm(
            state, f"{path}.feedforward_norm", queries + linear(state, f"{path}.contract", hidden)
        )
    mixed = mix_frequencies(state, f"head.decoders.{stage}.mixer", patches, grid, heads)
    return queries @ mixed.T


def mix_frequencies(
    state: State, path: str, patches: Tensor, grid: tuple[int, int], heads: int
) -> Tensor:
    """Patches (N, d), window after window."""
    rows, columns = (math.ceil(side / 3) for side in grid)
    padded = torch.zeros(3 * rows, 3 * columns, patches.shape[1])
    padded[: grid[0], : grid[1]] = patches.reshape(*grid, -1)
    low_heads = int(0.9 * heads)
    places = [
        (slice(3 * r, 3 * r + 3), slice(3 * c, 3 * c + 3))
        for r in range(rows)
        for c in range(columns)
    ]
    means = torch.stack([padded[place].mean((0, 1)) for place in places])
    keys, values = (means @ state[f"{path}.low_key_value.weight"].T).chunk(2, -1)
    queries = padded.flatten(0, 1) @ state[f"{path}.low_query.weight"].T
    low = linear(state, f"{path}.low_out", attention(queries, keys, values, low_heads))
    high = torch.zeros(3 * rows, 3 * columns, patches.shape[1] - low.shape[1])
    for place in places:
        qkv = padded[place].flatten(0, 1) @ state[f"{path}.high_qkv.weight"].T
        high[place] = attention(*qkv.chunk(3, -1), heads - low_heads).reshape(3, 3, -1)
    mixed = torch.cat([high, low.reshape(*high.shape[:2], -1)], -1)[: grid[0], : grid[1]]
    mixed = mixed.flatten(0, 1)
    similarity = (unit(mixed) @ unit(state[f"{path}.focus"])).clamp(0, 1)
    return mixed * similarity[:, None] @ state[f"{path}.transform"]
