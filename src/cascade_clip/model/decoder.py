"""The text-image decoder: class queries attend to patches; their scores are the mask logits.

ZegCLIP (arXiv 2212.03588, section 3.3), after SegViT (arXiv 2210.05844). Only what reaches the
mask logits exists here: the last layer is its query and key projections alone.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IDENTITY_LOGIT_SCALE = 8.0
"""Mask logits per unit of cosine similarity that `start_at_identity` begins with, over all stages:
small enough that a patch which CLIP takes for the wrong class costs little to correct."""


class DecoderShell(nn.Module):
    """Attention of queries over patches, which an heir computes, then a feed-forward; both
    post-norm. No self-attention among the queries, so no class depends on another."""

    def __init__(self, embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(embed_dim, embed_dim)
        self.value = nn.Linear(embed_dim, embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.expand = nn.Linear(embed_dim, 4 * embed_dim)
        self.contract = nn.Linear(4 * embed_dim, embed_dim)
        self.feedforward_norm = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)

    def update(self, queries: Tensor, attended: Tensor) -> Tensor:
        """Queries after what they attended to, both (B, ..., d), and after the feed-forward."""
        queries = self.attention_norm(queries + self.dropout(self.out(attended)))
        hidden = self.dropout(F.relu(self.expand(queries)))  # (B, ..., 4d)
        return self.feedforward_norm(queries + self.dropout(self.contract(hidden)))


class DecoderLayer(DecoderShell):
    """Multi-head cross-attention of the queries over the patches, then a feed-forward."""

    def __init__(self, embed_dim: int, heads: int, dropout: float) -> None:
        super().__init__(embed_dim, dropout)
        self.heads = heads

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Queries (B, C, d) and patches (B, N, d) to queries (B, C, d)."""
        return self.update(queries, self._attend(queries, patches))

    def _attend(self, queries: Tensor, patches: Tensor) -> Tensor:
        query, key, value = (
            linear(source).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, ., d_head)
            for linear, source in (
                (self.query, queries),
                (self.key, patches),
                (self.value, patches),
            )
        )
        dropout = self.dropout.p if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return attended.transpose(1, 2).flatten(2)  # (B, C, d)


class MaskScores(nn.Module):
    """The last layer: scaled scores before the softmax, averaged over the heads.

    The mean over heads of per-head products times d_head^-0.5 is one full-width product times
    d_head^-0.5 / heads. And since q (W p + b) = (q W) p + q b, the C queries go through the key
    projection instead of the N patches, which as a rule are more.
    """

    def __init__(self, embed_dim: int, heads: int) -> None:
        super().__init__()
        self.scale = (embed_dim / heads) ** -0.5 / heads
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(embed_dim, embed_dim)

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Queries (B, C, d) and patches (B, N, d) to mask logits (B, C, N)."""
        query = self.scale * self.query(queries)  # (B, C, d)
        constant = query @ self.key.bias[:, None]  # (B, C, 1)
        return (query @ self.key.weight) @ patches.transpose(1, 2) + constant


class Decoder(nn.Module):
    """`layers - 1` decoder layers and the mask scores.

    All layers start as identical copies, as in the released code.
    """

    def __init__(self, embed_dim: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        first = DecoderLayer(embed_dim, heads, dropout)
        self.layers = nn.ModuleList(copy.deepcopy(first) for _ in range(layers - 1))
        self.scores = MaskScores(embed_dim, heads)
        self.scores.query.load_state_dict(first.query.state_dict())
        self.scores.key.load_state_dict(first.key.state_dict())

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Queries (B, C, d) and patches (B, h, w, d) to mask logits (B, C, h, w)."""
        grid, patches = patches.shape[1:3], patches.flatten(1, 2)  # (B, N, d)
        for layer in self.layers:
            queries = layer(queries, patches)
        return self.scores(queries, patches).unflatten(-1, grid)

    @torch.no_grad()
    def start_at_identity(self, logit_scale: float) -> None:
        """Makes the mask logits start at `logit_scale` times CLIP's cosine similarity.

        Meant for queries that start as unit text embeddings. Attention and feed-forward of each
        layer add nothing at first (their output projections are zero), so a layer only normalises
        its queries, to norm sqrt(d). Query and key projections are multiples of the identity that
        make up for that norm, for the head mean and for d_head^-0.5. Nothing is added to the
        parameters: the scale trains as part of the projections.
        """
        layers: list[Any] = list(self.layers)
        for index, layer in enumerate(layers):
            self._scale_identity(layer, logit_scale, first=index == 0)
            for linear in (layer.out, layer.contract):
                nn.init.zeros_(linear.weight)
                nn.init.zeros_(linear.bias)
        self._scale_identity(self.scores, logit_scale, first=not self.layers)

    def _scale_identity(self, module: Any, logit_scale: float, first: bool) -> None:
        query_norm = 1.0 if first else math.sqrt(self.scores.query.in_features)
        scale = math.sqrt(logit_scale / (self.scores.scale * query_norm))
        for linear in (module.query, module.key):
            nn.init.eye_(linear.weight).mul_(scale)
            nn.init.zeros_(linear.bias)
