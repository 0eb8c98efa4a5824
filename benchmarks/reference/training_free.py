"""Training-free methods in plain form: one picture, one window after the other, every attention
written out, all names at full size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Size = tuple[int, int]

POSITIONS = {
    "bilinear": {"mode": "bilinear"},
    "bicubic": {"mode": "bicubic"},
    "bicubic-antialias": {"mode": "bicubic", "antialias": True},
}


def features(visual: Any, settings: Any, image: Tensor) -> Tensor:
    """Unit patch features (N, d) of one image (1, 3, H, W); `settings` are a method's."""
    tokens, grid = encode(visual, image, settings.positions)
    if settings.kind == "sc-clip":
        patches = sc_clip(visual, settings, tokens, grid)
    elif settings.kind == "gem":
        patches = gem(visual, settings, tokens)
    else:
        patches = last_block(visual, settings, tokens, grid)
    return F.normalize(visual.ln_post(patches) @ visual.proj, dim=-1)


def encode(visual: Any, image: Tensor, positions: str) -> tuple[list[Tensor], Size]:
    """Tokens (1 + N, D) before and after each block but the last, and the patch grid."""
    patches = visual.conv1(image)[0]  # (D, h, w)
    grid = (patches.shape[1], patches.shape[2])
    table = visual.positional_embedding
    plane = table[1:].T.reshape(1, -1, *visual.grid_size)
    if grid != tuple(visual.grid_size):
        if positions == "bicubic-factor":
            factors = [(new + 0.1) / old for new, old in zip(grid, visual.grid_size, strict=True)]
            plane = F.interpolate(plane, scale_factor=factors, mode="bicubic")
        else:
            options: dict[str, Any] = POSITIONS[positions]
            plane = F.interpolate(plane, size=grid, **options)
    x = torch.cat([visual.class_embedding[None], patches.flatten(1).T])
    x = visual.ln_pre(x + torch.cat([table[:1], plane[0].flatten(1).T]))
    tokens = [x]
    for block in list(visual.transformer.resblocks)[:-1]:
        query, key, value = query_key_value(block, block.ln_1(x))
        x = x + project(block, softmax_of(query, key) @ value)
        x = x + block.mlp(block.ln_2(x))
        tokens.append(x)
    return tokens, grid


def query_key_value(block: Any, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(heads, M, D / heads) each."""
    projected = F.linear(normed, block.attn.in_proj_weight, block.attn.in_proj_bias)
    query, key, value = projected.chunk(3, dim=-1)
    heads = block.attn.num_heads
    query, key, value = (
        part.reshape(len(normed), heads, -1).transpose(0, 1) for part in (query, key, value)
    )
    return query, key, value


def softmax_of(query: Tensor, key: Tensor, added: Tensor | float = 0.0) -> Tensor:
    return (query.shape[-1] ** -0.5 * query @ key.transpose(1, 2) + added).softmax(dim=-1)


def project(block: Any, attended: Tensor) -> Tensor:
    joined = attended.transpose(0, 1).flatten(1)
    return F.linear(joined, block.attn.out_proj.weight, block.attn.out_proj.bias)


def scaled(block: int, depth: int) -> int:
    """The block that stands for one of 12."""
    return max(1, block * depth // 12)


def last_block(visual: Any, settings: Any, tokens: list[Tensor], grid: Size) -> Tensor:
    blocks = list(visual.transformer.resblocks)
    block, x = blocks[-1], tokens[-1]
    query, key, value = query_key_value(block, block.ln_1(x))
    prior: Tensor | float = 0.0
    if settings.gaussian_sigma is not None:
        prior = torch.zeros(len(x), len(x))
        places = [(row, column) for row in range(grid[0]) for column in range(grid[1])]
        points = torch.tensor(places, dtype=x.dtype)
        distances = (points[:, None] - points).square().sum(dim=-1)
        prior[1:, 1:] = torch.exp(-distances / (2 * settings.gaussian_sigma**2))
    parts = {"q": query, "k": key, "v": value}
    attention: Tensor | float = 0.0
    if settings.attention == "identity":
        attention = torch.eye(len(x)).expand(len(query), -1, -1)
    else:
        for term in settings.attention.split("+"):
            attention = attention + softmax_of(parts[term[0]], parts[term[1]], prior)
    if settings.kind == "resclip":
        correlation: Tensor | float = 0.0
        for number in settings.correlation_blocks:
            number = scaled(number, len(blocks))
            own, before = blocks[number - 1], tokens[number - 1]
            own_query, own_key, _ = query_key_value(own, own.ln_1(before))
            correlation = correlation + softmax_of(own_query, own_key)
        correlation = correlation / len(settings.correlation_blocks)
        share = settings.correlation_weight
        attention = settings.temperature * ((1 - share) * attention + share * correlation)
    y = project(block, attention @ value)
    if settings.residual:
        y = x + y
    if settings.feed_forward:
        y = y + block.mlp(block.ln_2(y))
    return y[1:]


def gem(visual: Any, settings: Any, tokens: list[Tensor]) -> Tensor:
    depth = len(tokens)
    first = max(1, depth - settings.depth + 2)
    stream = tokens[first - 1]
    for number in range(first, depth + 1):
        block = visual.transformer.resblocks[number - 1]
        normed = block.ln_1(tokens[number - 1])
        parts = query_key_value(block, normed)
        scale = settings.temperature
        if scale is None:
            scale = normed.norm(dim=-1).mean() * parts[2].shape[-1] ** -0.5
        total: Tensor | float = 0.0
        for part in parts:
            for _ in range(settings.iterations):
                unit = F.normalize(part, dim=-1)
                part = (scale * unit @ unit.transpose(1, 2)).softmax(dim=-1) @ unit
            unit = F.normalize(part, dim=-1)
            total = total + (scale * unit @ unit.transpose(1, 2)).softmax(dim=-1) @ parts[2]
        stream = stream + project(block, total / 3)
    return stream[1:]


def sc_clip(visual: Any, settings: Any, tokens: list[Tensor], grid: Size) -> Tensor:
    depth, block = len(tokens), visual.transformer.resblocks[-1]
    class_token, x = tokens[-1][:1], tokens[-1][1:]
    middle = tokens[scaled(settings.similarity_block, depth)][1:]
    if settings.outlier_share:
        outliers = local_outliers(x, settings.neighbours, settings.outlier_share)
        x, middle = without(x, outliers, grid), without(middle, outliers, grid)
    similarity = cosine_matrix(middle)
    if settings.aggregate_before:
        x = aggregate(similarity, x, settings.similarity_threshold)
    low = cosine_matrix(tokens[scaled(settings.low_block, depth)][1:])

    def through(patches: Tensor, token: Tensor) -> Tensor:
        _, key, value = query_key_value(block, block.ln_1(patches))
        scores = settings.similarity_scale * (similarity - similarity.mean())
        alike = scores.masked_fill(scores < 0, -torch.inf).softmax(dim=-1)
        attentions = {"similarity": [alike], "kk": [softmax_of(key, key)]}
        attentions["both"] = attentions["similarity"] + attentions["kk"]
        chosen = attentions[settings.attention]
        y = sum(project(block, attention @ value) for attention in chosen) / len(chosen)
        y = y + settings.class_token_weight * token
        return aggregate(low, y, settings.similarity_threshold) if settings.aggregate_after else y

    result = through(x, class_token)
    fused = sorted({scaled(number, depth) for number in settings.fusion_blocks})
    if fused:
        total = torch.stack([tokens[number] for number in fused]).sum(dim=0)
        result = result + through(total[1:], total[:1])
    return result


def local_outliers(x: Tensor, neighbours: int, share: float) -> list[int]:
    count = min(neighbours, (len(x) - 1) // 2)
    if count < 1:
        return []
    squared = (x[:, None] - x).square().sum(dim=-1)  # (N, N)
    nearest = squared.sort(dim=-1, stable=True)
    last = nearest.values[:, count]
    factors = (last[:, None] / last[nearest.indices[:, 1 : count + 1]]).mean(dim=-1)
    limit = torch.quantile(factors, 1 - share)
    return [index for index, factor in enumerate(factors) if factor > limit]


def without(x: Tensor, outliers: list[int], grid: Size) -> Tensor:
    replaced = x.clone()
    for index in outliers:
        row, column = divmod(index, grid[1])
        around = [
            near
            for y in range(max(0, row - 1), min(grid[0], row + 2))
            for z in range(max(0, column - 1), min(grid[1], column + 2))
            if (near := y * grid[1] + z) not in outliers
        ]
        if around:
            replaced[index] = x[around].mean(dim=0)
    return replaced


def cosine_matrix(x: Tensor) -> Tensor:
    unit = F.normalize(x, dim=-1)
    return unit @ unit.T


def aggregate(similarity: Tensor, x: Tensor, threshold: float) -> Tensor:
    kept = torch.where(similarity >= threshold, similarity, 0.0)
    return (kept / (kept.sum(dim=-1, keepdim=True) + 1e-6)) @ x


def labels(
    visual: Any,
    settings: Any,
    image: Tensor,
    text: Tensor,
    *,
    crop: int,
    stride: int,
    scale: float,
    output_size: Size,
) -> Tensor:
    """Best names (H0, W0) of one image (1, 3, H, W), sides at least those of a window, whose sides
    are multiples of the patch."""
    height, width = image.shape[2:]
    patch = visual.conv1.kernel_size[0]
    total = torch.zeros(len(text), height, width)
    count = torch.zeros(height, width)
    for top in starts(height, crop, stride):
        for left in starts(width, crop, stride):
            window = image[:, :, top : top + crop, left : left + crop]
            grid = (window.shape[2] // patch, window.shape[3] // patch)
            cosines = (features(visual, settings, window) @ text.T).T.reshape(1, -1, *grid)
            upsampled = F.interpolate(cosines, size=window.shape[2:], mode="bilinear")[0]
            total[:, top : top + crop, left : left + crop] += upsampled
            count[top : top + crop, left : left + crop] += 1
    resized = F.interpolate((total / count)[None], size=output_size, mode="bilinear")[0]
    return (scale * resized).softmax(dim=0).argmax(dim=0)


def starts(side: int, crop: int, stride: int) -> list[int]:
    steps = max(side - crop + stride - 1, 0) // stride + 1
    return [max(min(step * stride + crop, side) - crop, 0) for step in range(steps)]
