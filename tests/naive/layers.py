"""Layers, by the names of their weights in a state dict."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True)
class NaiveLevels:
    """What the encoder makes of one image."""

    features: dict[int, Tensor]  # block -> (N, d)
    global_embedding: Tensor  # (d,)
    grid: tuple[int, int]
    regions: dict[int, Tensor] = field(default_factory=dict)  # block -> (R, d)


def linear(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def norm(state: State, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    spread = (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    return centred / spread * state[f"{name}.weight"] + state[f"{name}.bias"]


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def head_scores(queries: Tensor, keys: Tensor, heads: int) -> list[Tensor]:
    width = queries.shape[-1] // heads
    parts = [slice(head * width, (head + 1) * width) for head in range(heads)]
    return [queries[..., part] @ keys[..., part].mT * width**-0.5 for part in parts]


def attention(
    queries: Tensor, keys: Tensor, values: Tensor, heads: int, bias: Tensor | float = 0.0
) -> Tensor:
    scores = [scores + bias for scores in head_scores(queries, keys, heads)]
    per_head = values.chunk(heads, dim=-1)
    return torch.cat([s.softmax(-1) @ v for s, v in zip(scores, per_head, strict=True)], dim=-1)
