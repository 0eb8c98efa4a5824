"""SC-CLIP (arXiv 2411.15869): patches without outliers, averaged over those that are alike in
middle blocks, which also pass through the last block's attention."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.config.training_free import ScClipSettings
from cascade_clip.model.block import Block
from cascade_clip.model.training_free.attention import (
    attend_alike,
    join_heads,
    query_key_value,
)
from cascade_clip.model.training_free.outliers import find_outliers, replace_outliers
from cascade_clip.model.training_free.trunk import FrozenTrunk


def sc_clip_features(
    trunk: FrozenTrunk, image: Tensor, settings: ScClipSettings
) -> tuple[Tensor, tuple[int, int]]:
    """Normalised images (B, 3, H, W) to unit vectors of patches (B, N, d) and the grid (h, w)."""
    alike_in, low = trunk.scaled(settings.similarity_block), trunk.scaled(settings.low_block)
    fused = sorted({trunk.scaled(block) for block in settings.fusion_blocks})
    after, grid = trunk(image, {trunk.depth - 1, alike_in, low, *fused})
    block, threshold = trunk.block(trunk.depth), settings.similarity_threshold
    last, middle = after[trunk.depth - 1], after[alike_in][:, 1:]
    class_token, patches = last[:, :1], last[:, 1:]  # (B, 1, D), (B, N, D)

    if settings.outlier_share:
        outliers = find_outliers(patches, settings.neighbours, settings.outlier_share)  # (B, N)
        patches = replace_outliers(patches, outliers, grid)
        middle = replace_outliers(middle, outliers, grid)
    similarity = cosines(middle)  # (B, N, N)
    if settings.aggregate_before:
        patches = aggregate(patches, similarity, threshold)
    weight = settings.class_token_weight
    result = attend(block, patches, similarity, settings) + weight * class_token  # (B, N, D)
    low_similarity = cosines(after[low][:, 1:])  # (B, N, N)
    if settings.aggregate_after:
        result = aggregate(result, low_similarity, threshold)
    if fused:
        levels = torch.stack([after[number] for number in fused]).sum(dim=0)  # (B, 1 + N, D)
        through = attend(block, levels[:, 1:], similarity, settings) + weight * levels[:, :1]
        if settings.aggregate_after:
            through = aggregate(through, low_similarity, threshold)
        result = result + through
    return trunk.to_unit(result), grid


def cosines(patches: Tensor) -> Tensor:
    """Between patches (B, N, D): (B, N, N)."""
    unit = F.normalize(patches, dim=-1)
    return unit @ unit.mT


def aggregate(patches: Tensor, similarity: Tensor, threshold: float) -> Tensor:
    """Patches (B, N, D), each the mean of those whose similarity (B, N, N) reaches `threshold`,
    weighted by it."""
    kept = similarity.masked_fill(similarity < threshold, 0.0)  # (B, N, N)
    return (kept / (kept.sum(dim=-1, keepdim=True) + 1e-6)) @ patches


def attend(block: Block, patches: Tensor, similarity: Tensor, settings: ScClipSettings) -> Tensor:
    """The last block's attention of patches (B, N, D) to those that are alike, (B, N, D)."""
    _, key, value = query_key_value(block, block.ln_1(patches))  # (B, heads, N, D / heads)
    terms = []
    if settings.attention != "kk":
        above = similarity - similarity.mean(dim=(1, 2), keepdim=True)
        scores = settings.similarity_scale * above
        weights = scores.masked_fill(scores < 0, -torch.inf).softmax(dim=-1)  # (B, N, N)
        terms.append(weights[:, None] @ value)
    if settings.attention != "similarity":
        terms.append(attend_alike(key, value))
    return join_heads(block, torch.stack(terms).mean(dim=0))
