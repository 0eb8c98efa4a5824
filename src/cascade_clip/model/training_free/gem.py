"""GEM (arXiv 2312.00878): a second stream through CLIP's last blocks, of self-self attention."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.config.training_free import GemSettings
from cascade_clip.model.block import Block
from cascade_clip.model.training_free.attention import join_heads, query_key_value
from cascade_clip.model.training_free.trunk import FrozenTrunk


def gem_features(
    trunk: FrozenTrunk, image: Tensor, settings: GemSettings
) -> tuple[Tensor, tuple[int, int]]:
    """Normalised images (B, 3, H, W) to unit vectors of patches (B, N, d) and the grid (h, w)."""
    first = max(1, trunk.depth - settings.depth + 2)
    after, grid = trunk(image, set(range(first - 1, trunk.depth)))
    stream = after[first - 1]  # (B, 1 + N, D)
    for number in range(first, trunk.depth + 1):
        stream = stream + self_self_attention(trunk.block(number), after[number - 1], settings)
    return trunk.to_unit(stream[:, 1:]), grid


def self_self_attention(block: Block, tokens: Tensor, settings: GemSettings) -> Tensor:
    """What queries, keys and values of tokens (B, M, D) give on average, each compared with itself:
    (B, M, D)."""
    normed = block.ln_1(tokens)
    query, key, value = query_key_value(block, normed)
    scale = _scale(settings.temperature, normed, value.shape[-1])
    attended = [
        _attend(_cluster(part, scale, settings.iterations), value, scale)
        for part in (query, key, value)
    ]
    return join_heads(block, torch.stack(attended).mean(dim=0))


def _scale(temperature: float | None, normed: Tensor, width: int) -> Tensor | float:
    """The given one, or one of each picture (B, 1, 1, 1)."""
    if temperature is not None:
        return temperature
    return normed.norm(dim=-1).mean(dim=1)[:, None, None, None] * width**-0.5


def _cluster(part: Tensor, scale: Tensor | float, iterations: int) -> Tensor:
    """Unit vectors (B, heads, M, D / heads), averaged `iterations` times over those like them."""
    for _ in range(iterations):
        part = F.normalize(part, dim=-1)
        part = _attend(part, part, scale)
    return F.normalize(part, dim=-1)


def _attend(unit: Tensor, value: Tensor, scale: Tensor | float) -> Tensor:
    """`softmax(scale u u^T) v`."""
    return F.scaled_dot_product_attention(unit * scale, unit, value, scale=1.0)
