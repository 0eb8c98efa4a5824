"""The method once more, slowly: one image, one head, one class map at a time where that is plainer.

A twin of `cascade_clip.model.SegmentationNetwork`: it takes that network's state dict, and shares
no code with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module

import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.config import ModelSettings
from tests.naive.layers import NaiveLevels, State, attention, linear, norm, unit

DEEP = ("deep-prompts", "spectral-prompts", "relationship-prompts")


@dataclass(frozen=True)
class NaiveSizes:
    """What a state dict does not tell."""

    vision_heads: int
    grid_size: tuple[int, int]
    quick_gelu: bool


@dataclass(frozen=True)
class NaiveOutput:
    features: dict[int, Tensor]  # block -> (B, N, d)
    regions: dict[int, Tensor]  # block -> (B, R, d)
    global_embedding: Tensor  # (B, d)
    stage_logits: list[Tensor]  # (B, C, h, w)
    mask_logits: Tensor  # (B, C, h, w)


def naive_forward(
    state: State, settings: ModelSettings, sizes: NaiveSizes, image: Tensor, text: Tensor
) -> NaiveOutput:
    """Evaluation mode, without dropout; text embeddings (C, d) or (C, K, d)."""
    head = settings.head
    twin = import_module(f"tests.naive.heads.{head.kind.replace('-', '_')}")
    text = text if text.ndim == 3 else text[:, None]
    images = [naive_levels(state, settings, sizes, one, text) for one in image]
    if hasattr(twin, "stage_logits_of_batch"):  # where images depend on one another
        logits = twin.stage_logits_of_batch(state, head, images, text)
    else:
        logits = [twin.stage_logits(state, head, levels, text) for levels in images]
    stages = [torch.stack(maps) for maps in zip(*logits, strict=True)]
    features, regions = (
        {block: torch.stack([one[block] for one in level]) for block in level[0]}
        for level in ([one.features for one in images], [one.regions for one in images])
    )
    global_embedding = torch.stack([one.global_embedding for one in images])
    return NaiveOutput(features, regions, global_embedding, stages, sum(stages))


def patch_sides(state: State) -> tuple[int, int]:
    kernel = state["encoder.visual.conv1.weight"]
    return kernel.shape[2], kernel.shape[3]


def naive_levels(
    state: State, settings: ModelSettings, sizes: NaiveSizes, image: Tensor, text: Tensor
) -> NaiveLevels:
    """Level features and the global embedding of one image (3, H, W); text embeddings (C, K, d)."""
    encoder = settings.encoder
    depth = 1 + max(
        int(name.split(".")[4]) for name in state if name.startswith("encoder.visual.transformer.")
    )
    wanted = sorted(block for stage in settings.head.stages_read for block in stage)
    inner = [block for block in wanted if block != depth]
    h, w = (side // p for side, p in zip(image.shape[1:], patch_sides(state), strict=True))
    tokens = embed(state, settings, sizes, image)  # (1 + N, D)
    count, bias, features, regions, seen = len(tokens), 0.0, {}, {}, tokens
    stored = (encoder.stored_grid,) * 2 if encoder.stored_grid else sizes.grid_size
    if encoder.regions:
        own = norm(state, "encoder.visual.ln_pre", state["encoder.regions.tokens"])
        tokens = torch.cat([tokens, own])  # (1 + N + R, D)
        count, bias = len(tokens), attention_bias(encoder.regions, encoder.prompts, (h, w))
    patches_end = 1 + h * w
    for block in range(1, depth + 1):
        if encoder.tuning in DEEP:
            prompts = linear(
                state, "encoder.prompts.projection", state["encoder.prompts.embeddings"][block - 1]
            )
            tokens = torch.cat([tokens[:1], prompts, tokens[len(tokens) - count + 1 :]])
        if encoder.tuning == "relationship-prompts" and block > 1:
            related = relationship_prompts(
                state, unit(to_joint_space(state, seen)), text[:, 0], (h, w), stored
            )
            related = linear(state, "encoder.prompts.projection", related)
            tokens = torch.cat([tokens[:1], related, tokens[1:]])
        if encoder.tuning == "shallow-prompts" and block == 1:
            prompts = linear(
                state, "encoder.prompts.projection", state["encoder.prompts.embeddings"][0]
            )
            tokens = torch.cat([tokens[:1], prompts, tokens[1:]])
        if encoder.tuning == "spectral-prompts" and block <= 2:
            patches = tokens[len(tokens) - count + 1 :]
            patches = patches + spectral_prompt(
                state, patches * tokens[0], (h, w), encoder.stored_grid or sizes.grid_size[1]
            )
            tokens = torch.cat([tokens[: len(tokens) - count + 1], patches])
        tokens = transformer_block(state, sizes, block - 1, tokens, bias)
        seen = torch.cat([tokens[:1], tokens[len(tokens) - count + 1 :]])
        seen, own = seen[:patches_end], seen[patches_end:]
        if encoder.tuning in DEEP:
            seen = norm(state, "encoder.prompt_norm", seen, eps=1e-6)
        if block in inner:
            if encoder.level_projection == "value-path":
                features[block] = unit(value_path(state, depth, seen[1:]))
                regions[block] = unit(value_path(state, depth, own))
                continue
            level = inner.index(block)
            projection = state["encoder.level_projections.weights"][level]
            path = f"encoder.level_projections.norms.{level}"
            features[block] = unit(norm(state, path, seen[1:]) @ projection)
            regions[block] = unit(norm(state, path, own) @ projection)
    last = unit(to_joint_space(state, seen))
    if depth in wanted:
        features[depth] = last[1:]
        regions[depth] = unit(to_joint_space(state, own))
    return NaiveLevels(features, last[0], (h, w), regions)


def attention_bias(side: int, prompts: int, grid: tuple[int, int]) -> Tensor:
    """0 where a token attends to another, else -inf, of class token, prompts, patches, regions."""
    h, w = grid
    others = [("other", None)] * (1 + prompts)
    patches = [("patch", (y * side // h, x * side // w)) for y in range(h) for x in range(w)]
    regions = [("region", (row, column)) for row in range(side) for column in range(side)]
    tokens = [*others, *patches, *regions]
    return torch.tensor(
        [
            [
                0.0 if "region" not in (one[0], two[0]) or one[1] == two[1] else -math.inf
                for two in tokens
            ]
            for one in tokens
        ]
    )


def value_path(state: State, depth: int, patches: Tensor) -> Tensor:
    prefix = f"encoder.visual.transformer.resblocks.{depth - 1}."
    width = patches.shape[-1]
    weight, bias = state[f"{prefix}attn.in_proj_weight"], state[f"{prefix}attn.in_proj_bias"]
    value = norm(state, f"{prefix}ln_1", patches) @ weight[2 * width :].T + bias[2 * width :]
    tokens = linear(state, f"{prefix}attn.out_proj", value)
    return to_joint_space(state, tokens)


def to_joint_space(state: State, tokens: Tensor) -> Tensor:
    return norm(state, "encoder.visual.ln_post", tokens) @ state["encoder.visual.proj"]


def embed(state: State, settings: ModelSettings, sizes: NaiveSizes, image: Tensor) -> Tensor:
    kernel = state["encoder.visual.conv1.weight"]  # (D, 3, p, p)
    ph, pw = patch_sides(state)
    h, w = image.shape[1] // ph, image.shape[2] // pw
    patches = torch.stack(
        [
            (kernel * image[:, y * ph : (y + 1) * ph, x * pw : (x + 1) * pw]).sum((1, 2, 3))
            for y in range(h)
            for x in range(w)
        ]
    )  # (N, D)
    position = state["encoder.visual.positional_embedding"]
    plane = position[1:].reshape(*sizes.grid_size, -1).permute(2, 0, 1)[None]  # (1, D, h0, w0)
    if settings.encoder.stored_grid:
        side = settings.encoder.stored_grid
        plane = F.interpolate(plane, size=(side, side), mode="bilinear", align_corners=False)
    plane = F.interpolate(plane, size=(h, w), mode="bilinear", align_corners=False)
    class_embedding = state["encoder.visual.class_embedding"]
    times = 2 if settings.encoder.class_embedding_twice else 1
    class_token = times * class_embedding + position[0]
    patches = patches + plane[0].permute(1, 2, 0).reshape(h * w, -1)
    return norm(state, "encoder.visual.ln_pre", torch.cat([class_token[None], patches]))


def relationship_prompts(
    state: State,
    embeddings: Tensor,
    text: Tensor,
    grid: tuple[int, int],
    reference_grid: tuple[int, int],
) -> Tensor:
    """Unit embeddings (1 + N, d) of class token and patches, text embeddings (C, d): (C, D)."""
    weights = state["encoder.relationship_prompts.weights"]
    plane = weights.reshape(*reference_grid, -1).permute(2, 0, 1)[None]
    plane = F.interpolate(plane, size=grid, mode="bilinear", align_corners=False)[0]
    plane = plane * len(weights) / (grid[0] * grid[1])
    prompts = []
    for name in text:
        matches = (embeddings[1:] @ (name * embeddings[0])).reshape(grid)
        prompts.append((matches * plane).sum((1, 2)))
    return torch.stack(prompts)


def spectral_prompt(state: State, matched: Tensor, grid: tuple[int, int], columns: int) -> Tensor:
    """Patches times class token (N, D) through the filter: every frequency on its own."""
    response = torch.view_as_complex(state["encoder.spectral_prompt.response"])  # (R, S, D)
    rows = response.shape[0]
    spectrum = torch.fft.rfft2(matched.reshape(*grid, -1), dim=(0, 1))
    for u in range(spectrum.shape[0]):
        for v in range(spectrum.shape[1]):
            row = (u if 2 * u < grid[0] else u - grid[0]) / grid[0] * rows
            column = min(v / grid[1] * columns, response.shape[1] - 1)
            low, left = math.floor(row), math.floor(column)
            right = min(left + 1, response.shape[1] - 1)
            down, along = row - low, column - left
            here = [
                (1 - along) * response[r % rows, left] + along * response[r % rows, right]
                for r in (low, low + 1)
            ]
            spectrum[u, v] *= (1 - down) * here[0] + down * here[1]
    return torch.fft.irfft2(spectrum, s=grid, dim=(0, 1)).flatten(0, 1)


def transformer_block(
    state: State, sizes: NaiveSizes, index: int, tokens: Tensor, bias: Tensor | float
) -> Tensor:
    path = f"encoder.visual.transformer.resblocks.{index}"
    normed = norm(state, f"{path}.ln_1", tokens)
    qkv = normed @ state[f"{path}.attn.in_proj_weight"].T + state[f"{path}.attn.in_proj_bias"]
    queries, keys, values = qkv.chunk(3, dim=-1)
    attended = attention(queries, keys, values, sizes.vision_heads, bias)
    tokens = tokens + linear(state, f"{path}.attn.out_proj", attended)
    hidden = linear(state, f"{path}.mlp.c_fc", norm(state, f"{path}.ln_2", tokens))
    hidden = hidden * torch.sigmoid(1.702 * hidden) if sizes.quick_gelu else F.gelu(hidden)
    return tokens + linear(state, f"{path}.mlp.c_proj", hidden)
