"""OTSeg's head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.config.heads import OTSegSettings
from tests.naive.heads.cascade import aggregate, query
from tests.naive.layers import NaiveLevels, State, linear, norm, unit
from tests.naive.sinkhorn import transport_plans

Maps = list[list[Tensor]]
"""By image, then class."""


def stage_logits_of_batch(
    state: State, settings: OTSegSettings, images: list[NaiveLevels], text: Tensor
) -> list[list[Tensor]]:
    """By image, per stage, what is tested: mask logits (C, h, w); text embeddings (C, K, d)."""
    paths = path_logits(state, settings, images, text)
    if settings.test_scores == "decoder":
        return [decoded for _, decoded in paths]
    return [[(a + b) / 2 for a, b in zip(*image, strict=True)] for image in paths]


def path_logits(
    state: State, settings: OTSegSettings, images: list[NaiveLevels], text: Tensor
) -> list[tuple[list[Tensor], list[Tensor]]]:
    """By image: of the prompts, then of the decoders, (C, h, w) per stage."""
    paths: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in images]
    for stage, blocks in enumerate(settings.stages):
        patches, queries = [], []
        for levels in images:
            features = [levels.features[block] for block in blocks if block in levels.features]
            patches.append(aggregate(state, settings, stage, features))
            g = levels.global_embedding
            queries.append([query(state, settings, stage, prompts, g) for prompts in text])
        scores, _ = match(settings, queries, patches)
        decoded = decode(state, settings, stage, queries, patches)
        share = len(settings.stages) if settings.prompt_scores == "mean" else 1
        for image, levels in enumerate(images):
            paths[image][0].append(torch.stack(scores[image]).unflatten(1, levels.grid) / share)
            paths[image][1].append(torch.stack(decoded[image]).unflatten(1, levels.grid))
    return paths


def match(settings: OTSegSettings, queries: Maps, patches: list[Tensor]) -> tuple[Maps, Maps]:
    """Scores (N,) and plans (N, K), from queries (K, d) by image and class, patches (N, d)."""
    cosines = [
        [unit(own) @ unit(prompts).T for prompts in classes]
        for own, classes in zip(patches, queries, strict=True)
    ]
    flat = iter(
        transport_plans([one for image in cosines for one in image], settings.sinkhorn_rounds)
    )
    plans = [[next(flat) for _ in image] for image in cosines]
    scores = [
        [plan.numel() * (plan * cosine).sum(1) for plan, cosine in zip(*pair, strict=True)]
        for pair in zip(plans, cosines, strict=True)
    ]
    return scores, plans


def decode(
    state: State, settings: OTSegSettings, stage: int, queries: Maps, patches: list[Tensor]
) -> Maps:
    """Mask logits (N,) by image and class."""
    queries = [list(image) for image in queries]
    gates = [[1.0 for _ in image] for image in queries]
    for layer in range(settings.decoder_layers - 1):
        path = f"head.decoders.{stage}.layers.{layer}"
        scores, plans = match_projected(state, settings, path, queries, patches)
        for image, own in enumerate(patches):
            for c, plan in enumerate(plans[image]):
                attended = plan.T @ linear(state, f"{path}.value", own)  # (K, d)
                queries[image][c] = update(state, path, queries[image][c], attended)
                gates[image][c] *= scores[image][c].sigmoid() ** (1 / (settings.decoder_layers - 1))
    path = f"head.decoders.{stage}.scores"
    scores, _ = match_projected(state, settings, path, queries, patches)
    return [
        [score * gate for score, gate in zip(*pair, strict=True)]
        for pair in zip(scores, gates, strict=True)
    ]


def match_projected(
    state: State, settings: OTSegSettings, path: str, queries: Maps, patches: list[Tensor]
) -> tuple[Maps, Maps]:
    asked = [[linear(state, f"{path}.query", prompts) for prompts in image] for image in queries]
    return match(settings, asked, [linear(state, f"{path}.key", own) for own in patches])


def update(state: State, path: str, queries: Tensor, attended: Tensor) -> Tensor:
    queries = norm(
        state, f"{path}.attention_norm", queries + linear(state, f"{path}.out", attended)
    )
    hidden = F.relu(linear(state, f"{path}.expand", queries))
    return norm(
        state, f"{path}.feedforward_norm", queries + linear(state, f"{path}.contract", hidden)
    )
