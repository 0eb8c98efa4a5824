"""The text-image decoders: all layers in full, although only the last one's scores are used."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Cross-attention that also returns its scores before the softmax, averaged over the heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.attn_drop = nn.Dropout(0.1)
        self.proj = nn.Linear(width, width)
        self.proj_drop = nn.Dropout(0.1)

    def forward(self, queries: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v = (
            x.unflatten(-1, (self.heads, -1)).permute(0, 2, 1, 3)
            for x in (self.q(queries), self.k(patches), self.v(patches))
        )  # (B, heads, ., d_head)
        scores = (q @ k.transpose(-2, -1)) * self.scale  # (B, heads, C, N)
        attended = self.attn_drop(scores.softmax(dim=-1)) @ v
        attended = attended.permute(0, 2, 1, 3).flatten(2)  # (B, C, d)
        return self.proj_drop(self.proj(attended)), scores.mean(dim=1)


class Layer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads)  # in the checkpoints, never used
        self.norm1 = nn.LayerNorm(width)  # likewise
        self.multihead_attn = Attention(width, heads)
        self.linear1 = nn.Linear(width, 4 * width)
        self.linear2 = nn.Linear(4 * width, width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(0.1)
        self.dropout2 = nn.Dropout(0.1)
        self.dropout3 = nn.Dropout(0.1)

    def forward(self, queries: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        attended, scores = self.multihead_attn(queries, patches)
        queries = self.norm2(queries + self.dropout2(attended))
        hidden = self.linear2(self.dropout(F.relu(self.linear1(queries))))
        return self.norm3(queries + self.dropout3(hidden)), scores


class Decoder(nn.Module):
    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Queries (B, C, d) and patches (B, N, d) to mask logits (B, C, N)."""
        scores = []
        for layer in self.layers:
            queries, mean = layer(queries, patches)
            scores.append(mean)
        return scores[-1]


class Head(nn.Module):
    """Level features and text embeddings to mask logits at the training size, summed over stages.

    With inner levels the names are Cascade-CLIP's, without them ZegCLIP's.
    """

    def __init__(
        self, *, embed_dim: int, heads: int, layers: int, levels: int, image_size: int
    ) -> None:
        super().__init__()
        self.image_size = image_size
        if levels > 1:
            stages = (levels - 1) // 3 + 1
            self.q_projs = nn.ModuleList(nn.Linear(2 * embed_dim, embed_dim) for _ in range(stages))
            self.cascade_decoders = nn.ModuleList(
                Decoder(embed_dim, heads, layers) for _ in range(stages)
            )
            self.weights_s1 = nn.Parameter(torch.empty(3))
            self.weights_s2 = nn.Parameter(torch.empty(3))
        else:
            self.q_proj = nn.Linear(2 * embed_dim, embed_dim)
            self.decoder_1 = Decoder(embed_dim, heads, layers)
        self.cascade = levels > 1

    def forward(self, levels: list[Tensor], global_embedding: Tensor, text: Tensor) -> Tensor:
        """Maps (B, d, h, w) per level, g (B, d) and T (C, d) to mask logits (B, C, S, S)."""
        texts = text.expand(len(global_embedding), -1, -1)  # (B, C, d)
        described = torch.cat([texts * global_embedding[:, None], texts], dim=-1)  # (B, C, 2d)
        if self.cascade:
            stages = [
                sum(weight * level for weight, level in zip(weights, group, strict=True))
                for weights, group in (
                    (self.weights_s1, levels[:3]),
                    (self.weights_s2, levels[3:6]),
                )
            ]
            maps = sum(
                self.decode(decoder, project(described), stage)
                for decoder, project, stage in zip(
                    self.cascade_decoders, self.q_projs, [*stages, levels[-1]], strict=True
                )
            )
        else:
            maps = self.decode(self.decoder_1, self.q_proj(described), levels[-1])
        size = (self.image_size, self.image_size)
        return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)

    @staticmethod
    def decode(decoder: Decoder, queries: Tensor, feature: Tensor) -> Tensor:
        patches = feature.flatten(2).permute(0, 2, 1)  # (B, N, d)
        return decoder(queries, patches).unflatten(2, feature.shape[2:])  # (B, C, h, w)
