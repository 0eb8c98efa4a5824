"""MaskCLIP, SCLIP, ClearCLIP, NACLIP: another attention in CLIP's last block; and ResCLIP's
residual cross-correlation, which mixes in that of middle blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from cascade_clip.config.training_free import LastBlockChoices, ResclipSettings
from cascade_clip.model.training_free.attention import (
    attend_alike,
    join_heads,
    query_key_value,
    self_scores,
)
from cascade_clip.model.training_free.trunk import FrozenTrunk


def last_block_features(
    trunk: FrozenTrunk, image: Tensor, settings: LastBlockChoices
) -> tuple[Tensor, tuple[int, int]]:
    """Normalised images (B, 3, H, W) to unit vectors of patches (B, N, d) and the grid (h, w)."""
    correlated = [trunk.scaled(b) for b in _correlation_blocks(settings)]
    read = {trunk.depth - 1, *(block - 1 for block in correlated)}
    after, grid = trunk(image, read)
    tokens, block = after[trunk.depth - 1], trunk.block(trunk.depth)  # (B, 1 + N, D)
    query, key, value = query_key_value(block, block.ln_1(tokens))
    prior = None
    if settings.gaussian_sigma is not None:
        prior = neighbour_prior(grid, settings.gaussian_sigma, like=tokens)  # (1 + N, 1 + N)
    attended = _attend(settings.attention, query, key, value, prior)  # (B, heads, 1 + N, D / heads)
    if isinstance(settings, ResclipSettings):
        correlation = _mean_self_scores(trunk, after, correlated)  # (B, heads, 1 + N, 1 + N)
        share = settings.correlation_weight
        attended = (1 - share) * attended + share * (correlation @ value)
        attended = settings.temperature * attended
    attended = join_heads(block, attended)  # (B, 1 + N, D)
    if settings.residual:
        attended = tokens + block.ls_1(attended)
    if settings.feed_forward:
        attended = attended + block.ls_2(block.feed_forward(block.ln_2(attended)))
    return trunk.to_unit(attended[:, 1:]), grid


def neighbour_prior(grid: tuple[int, int], sigma: float, *, like: Tensor) -> Tensor:
    """NACLIP's added scores (1 + N, 1 + N): exp(-distance² / (2 sigma²)) between patches, distance
    in patches; 0 for the class token."""
    height, width = grid
    rows = torch.arange(height, dtype=like.dtype, device=like.device)
    columns = torch.arange(width, dtype=like.dtype, device=like.device)
    vertical = (rows[:, None] - rows).square()  # (h, h)
    horizontal = (columns[:, None] - columns).square()  # (w, w)
    squared = vertical[:, None, :, None] + horizontal[None, :, None, :]  # (h, w, h, w)
    prior = like.new_zeros(1 + height * width, 1 + height * width)
    prior[1:, 1:] = torch.exp(-squared.flatten(2).flatten(0, 1) / (2 * sigma**2))  # (N, N)
    return prior


def _attend(
    attention: str, query: Tensor, key: Tensor, value: Tensor, prior: Tensor | None
) -> Tensor:
    if attention == "identity":
        return value
    if attention == "qk":
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=prior)
    parts = {"qq": query, "kk": key, "vv": value}
    terms = [attend_alike(parts[term], value, prior) for term in attention.split("+")]
    return torch.stack(terms).sum(dim=0)


def _correlation_blocks(settings: LastBlockChoices) -> tuple[int, ...]:
    return settings.correlation_blocks if isinstance(settings, ResclipSettings) else ()


def _mean_self_scores(trunk: FrozenTrunk, after: dict[int, Tensor], blocks: list[int]) -> Tensor:
    """The mean of the attention in some blocks, head by head: (B, heads, 1 + N, 1 + N)."""
    total: Tensor | None = None
    for number in blocks:
        block = trunk.block(number)
        query, key, _ = query_key_value(block, block.ln_1(after[number - 1]))
        scores = self_scores(query, key)
        total = scores if total is None else total.add_(scores)
    assert total is not None  # the settings name at least one block
    return total / len(blocks)
