"""Sinkhorn's iterations, one problem after another, on logarithms."""

from __future__ import annotations

import math

from torch import Tensor

EPSILON, STILL, MOST_ROUNDS = 0.05, 1e-6, 100


def transport_plans(cosines: list[Tensor], rounds: int | None = None) -> list[Tensor]:
    """A plan (N, K) for each cosines (N, K); all of them together stop."""
    costs = [(1 - cosine) / EPSILON for cosine in cosines]
    potentials = [(cost[:, :1] * 0, cost[:1] * 0) for cost in costs]  # (N, 1) and (1, K)
    for _ in range(rounds or MOST_ROUNDS):
        before = potentials
        potentials = [one_round(cost, v) for cost, (_, v) in zip(costs, potentials, strict=True)]
        changes = [
            (new - old).abs().mean() * EPSILON
            for (new, _), (old, _) in zip(potentials, before, strict=True)
        ]
        if rounds is None and sum(changes) / len(changes) < STILL:
            break
    return [(u + v - cost).exp() for (u, v), cost in zip(potentials, costs, strict=True)]


def one_round(cost: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    patches, prompts = cost.shape
    u = math.log(1 / patches + 1e-8) - (v - cost).logsumexp(1, keepdim=True)
    return u, math.log(1 / prompts + 1e-8) - (u - cost).logsumexp(0, keepdim=True)
