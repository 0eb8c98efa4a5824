"""The method once more, slowly: one image, one head, one class map at a time where that is plainer.

A twin of `cascade_clip.model.SegmentationNetwork`: it takes that network's state dict, and shares
no code with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.config import ModelSettings

State = dict[str, Tensor]


@dataclass(frozen=True)
class NaiveSizes:
    """What a state dict does not tell."""

    vision_heads: int
    grid_size: tuple[int, int]
    quick_gelu: bool


@dataclass(frozen=True)
class NaiveOutput:
    features: dict[int, Tensor]  # block -> (B, N, d)
    global_embedding: Tensor  # (B, d)
    stage_logits: list[Tensor]  # (B, C, h, w)
    mask_logits: Tensor  # (B, C, h, w)


def linear(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def norm(state: State, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    spread = (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    return centred / spread * state[f"{name}.weight"] + state[f"{name}.bias"]


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def naive_forward(
    state: State, settings: ModelSettings, sizes: NaiveSizes, image: Tensor, text: Tensor
) -> NaiveOutput:
    """Evaluation mode, without dropout."""
    per_image = [naive_levels(state, settings, sizes, one) for one in image]
    h, w = (side // patch for side, patch in zip(image.shape[2:], patch_sides(state), strict=True))
    stages = []
    for index, blocks in enumerate(settings.head.stages):
        maps = []
        for features, global_embedding in per_image:
            stage_feature = aggregate(
                state, settings, index, [features[b] for b in blocks if b in features]
            )
            queries = query(state, settings, index, text, global_embedding)  # (C, d)
            if settings.head.decoder == "spectral":
                logits = decode_spectrally(state, settings, index, queries, stage_feature, (h, w))
            else:
                logits = decode(state, settings, index, queries, stage_feature)
            maps.append(logits.reshape(-1, h, w))
        stages.append(torch.stack(maps))
    features = {block: torch.stack([f[block] for f, _ in per_image]) for block in per_image[0][0]}
    return NaiveOutput(features, torch.stack([g for _, g in per_image]), stages, sum(stages))


def patch_sides(state: State) -> tuple[int, int]:
    kernel = state["encoder.visual.conv1.weight"]
    return kernel.shape[2], kernel.shape[3]


def naive_levels(
    state: State, settings: ModelSettings, sizes: NaiveSizes, image: Tensor
) -> tuple[dict[int, Tensor], Tensor]:
    """Level features {block: (N, d)} and the global embedding (d,) of one image (3, H, W)."""
    encoder = settings.encoder
    depth = 1 + max(
        int(name.split(".")[4]) for name in state if name.startswith("encoder.visual.transformer.")
    )
    stages = settings.head.stages
    if settings.head.aggregation == "last":
        stages = [stage[-1:] for stage in stages]
    wanted = sorted(block for stage in stages for block in stage)
    inner = [block for block in wanted if block != depth]
    tokens = embed(state, settings, sizes, image)  # (1 + N, D)
    count = len(tokens)
    features = {}
    for block in range(1, depth + 1):
        if encoder.tuning in ("deep-prompts", "spectral-prompts"):
            prompts = linear(
                state, "encoder.prompts.projection", state["encoder.prompts.embeddings"][block - 1]
            )
            tokens = torch.cat([tokens[:1], prompts, tokens[len(tokens) - count + 1 :]])
        if encoder.tuning == "shallow-prompts" and block == 1:
            prompts = linear(
                state, "encoder.prompts.projection", state["encoder.prompts.embeddings"][0]
            )
            tokens = torch.cat([tokens[:1], prompts, tokens[1:]])
        if encoder.tuning == "spectral-prompts" and block <= 2:
            grid = tuple(
                side // p for side, p in zip(image.shape[1:], patch_sides(state), strict=True)
            )
            patches = tokens[len(tokens) - count + 1 :]
            patches = patches + spectral_prompt(
                state, patches * tokens[0], grid, encoder.stored_grid or sizes.grid_size[1]
            )
            tokens = torch.cat([tokens[: len(tokens) - count + 1], patches])
        tokens = transformer_block(state, sizes, block - 1, tokens)
        seen = torch.cat([tokens[:1], tokens[len(tokens) - count + 1 :]])
        if encoder.tuning in ("deep-prompts", "spectral-prompts"):
            seen = norm(state, "encoder.prompt_norm", seen, eps=1e-6)
        if block in inner:
            level = inner.index(block)
            projection = state["encoder.level_projections.weights"][level]
            normed = norm(state, f"encoder.level_projections.norms.{level}", seen[1:])
            features[block] = unit(normed @ projection)
    last = unit(norm(state, "encoder.visual.ln_post", seen) @ state["encoder.visual.proj"])
    if depth in wanted:
        features[depth] = last[1:]
    return features, last[0]


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


def transformer_block(state: State, sizes: NaiveSizes, index: int, tokens: Tensor) -> Tensor:
    path = f"encoder.visual.transformer.resblocks.{index}"
    normed = norm(state, f"{path}.ln_1", tokens)
    qkv = normed @ state[f"{path}.attn.in_proj_weight"].T + state[f"{path}.attn.in_proj_bias"]
    queries, keys, values = qkv.chunk(3, dim=-1)
    attended = attention(queries, keys, values, sizes.vision_heads)
    tokens = tokens + linear(state, f"{path}.attn.out_proj", attended)
    hidden = linear(state, f"{path}.mlp.c_fc", norm(state, f"{path}.ln_2", tokens))
    hidden = hidden * torch.sigmoid(1.702 * hidden) if sizes.quick_gelu else F.gelu(hidden)
    return tokens + linear(state, f"{path}.mlp.c_proj", hidden)


def head_scores(queries: Tensor, keys: Tensor, heads: int) -> list[Tensor]:
    width = queries.shape[-1] // heads
    parts = [slice(head * width, (head + 1) * width) for head in range(heads)]
    return [queries[..., part] @ keys[..., part].mT * width**-0.5 for part in parts]


def attention(queries: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    scores = head_scores(queries, keys, heads)
    per_head = values.chunk(heads, dim=-1)
    return torch.cat([s.softmax(-1) @ v for s, v in zip(scores, per_head, strict=True)], dim=-1)


def aggregate(state: State, settings: ModelSettings, stage: int, levels: list[Tensor]) -> Tensor:
    kind, blocks = settings.head.aggregation, settings.head.stages[stage]
    path = f"head.aggregations.{stage}"
    if len(levels) == 1 or kind == "last":
        return levels[-1]
    if kind in ("nga", "sum-trained"):
        return sum(w * level for w, level in zip(state[f"{path}.weights"], levels, strict=True))
    if kind == "nga-fixed":
        distances = torch.tensor([float(blocks[-1] - block) for block in blocks])
        weights = torch.exp(-0.5 * (distances / settings.head.sigma) ** 2)
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
        attended = attention(queries, keys, values, settings.head.decoder_heads)
        patches.append((tokens + linear(state, f"{path}.out", attended)).mean(0))
    return torch.stack(patches)


def query(
    state: State, settings: ModelSettings, stage: int, text: Tensor, global_embedding: Tensor
) -> Tensor:
    index = 0 if settings.head.shared_queries else stage
    if settings.head.relationship_descriptor:
        text = torch.cat([text * global_embedding, text], dim=-1)  # (C, 2d)
    return linear(state, f"head.query_projections.{index}.linear", text)


def decode_spectrally(
    state: State,
    settings: ModelSettings,
    stage: int,
    queries: Tensor,
    patches: Tensor,
    grid: tuple[int, int],
) -> Tensor:
    """Mask logits (C, N) of one image."""
    heads = settings.head.decoder_heads
    for layer in range(settings.head.decoder_layers - 1):
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


def decode(
    state: State, settings: ModelSettings, stage: int, queries: Tensor, patches: Tensor
) -> Tensor:
    """Mask logits (C, N) of one image."""
    heads = settings.head.decoder_heads
    for layer in range(settings.head.decoder_layers - 1):
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
