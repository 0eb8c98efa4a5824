"""SPT-SEG's head (arXiv 2312.12754), with its spectral guided decoder.

It works as ZegCLIP's decoder does, but the patches that the queries attend to are first mixed among
themselves: high frequencies within small windows, low frequencies from window means.

From the public code, where the paper leaves it open: 3 x 3 windows, zero-padded at the right and
the bottom; nine tenths of the heads, rounded down, for the low frequencies; scores without scale
and without query or key projections. The public code is tied to a 32 x 32 grid and holds further
weights that nothing reads; neither is here. Its loss has a structural similarity term beside focal
and dice; that one is not part of the model.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_clip.config.heads import SpectralSettings
from cascade_clip.model.heads.cascade import CascadeHead, decoders_of

WINDOW = 3


class SpectralHead(CascadeHead):
    """SPT-SEG's decoder on each stage; with one stage of the last block it is SPT-SEG's own."""

    def __init__(self, embed_dim: int, settings: SpectralSettings) -> None:
        super().__init__(embed_dim, settings, decoders_of(SpectralDecoder, embed_dim, settings))


class FrequencyMixer(nn.Module):
    """Patches (B, h, w, d) to patches mixed by frequency, weighed by a learned direction.

    High frequencies: self-attention within each window. Low frequencies: every patch attends to the
    means of the windows. Side by side they make up the width again. Each patch is then scaled by
    its cosine similarity to `focus`, clamped to [0, 1], and mapped by `transform`.

    In the public code `focus` starts at random. But patches of CLIP have much in common, so half of
    all random directions point away from nearly every patch; the weights are then zero, and so are
    all mask logits and gradients, for good. Here it starts along what every mixed patch shares: the
    bias of the low frequencies.
    """

    def __init__(self, embed_dim: int, heads: int) -> None:
        super().__init__()
        self.low_heads = heads * 9 // 10
        self.high_heads = heads - self.low_heads
        head_dim = embed_dim // heads
        low_dim, high_dim = self.low_heads * head_dim, self.high_heads * head_dim
        self.low_query = nn.Linear(embed_dim, low_dim, bias=False)
        self.low_key_value = nn.Linear(embed_dim, 2 * low_dim, bias=False)
        self.low_out = nn.Linear(low_dim, low_dim)
        self.high_qkv = nn.Linear(embed_dim, 3 * high_dim, bias=False)
        shared = F.pad(self.low_out.bias.detach(), (high_dim, 0))  # (d,)
        self.focus = nn.Parameter(embed_dim**0.5 * F.normalize(shared, dim=0))
        self.transform = nn.Parameter(torch.eye(embed_dim))

    def forward(self, patches: Tensor) -> Tensor:
        mixed = self.mix(patches)  # (B, h, w, d)
        similarity = F.cosine_similarity(mixed, self.focus, dim=-1)  # (B, h, w)
        return mixed * similarity.clamp(0, 1)[..., None] @ self.transform

    def mix(self, patches: Tensor) -> Tensor:
        """The mixed patches before they are weighed: (B, h, w, d) to the same shape."""
        height, width = patches.shape[1:3]
        padding = (0, 0, 0, -width % WINDOW, 0, -height % WINDOW)
        padded = F.pad(patches, padding)  # (B, h', w', d), h' and w' multiples of the window
        mixed = torch.cat([self._high(padded), self._low(padded)], dim=-1)  # (B, h', w', d)
        return mixed[:, :height, :width]

    def _high(self, padded: Tensor) -> Tensor:
        rows, columns = padded.shape[1] // WINDOW, padded.shape[2] // WINDOW
        windows = self.high_qkv(padded).unflatten(2, (columns, WINDOW)).unflatten(1, (rows, WINDOW))
        windows = windows.transpose(2, 3)  # (B, rows, columns, 3, 3, 3 * high)
        query, key, value = (
            part.unflatten(-1, (self.high_heads, -1)).transpose(1, 2)
            for part in windows.flatten(0, 2).flatten(1, 2).chunk(3, dim=-1)
        )  # (B * rows * columns, heads, 9, d_head) each
        attended = F.scaled_dot_product_attention(query, key, value)
        attended = attended.transpose(1, 2).flatten(2)  # (B * rows * columns, 9, high)
        attended = attended.unflatten(1, (WINDOW, WINDOW)).unflatten(0, windows.shape[:3])
        return attended.transpose(2, 3).flatten(3, 4).flatten(1, 2)  # (B, h', w', high)

    def _low(self, padded: Tensor) -> Tensor:
        means = F.avg_pool2d(padded.permute(0, 3, 1, 2), WINDOW)  # (B, d, rows, columns)
        key_value = self.low_key_value(means.flatten(2).transpose(1, 2))  # (B, M, 2 * low)
        query, key, value = (
            part.unflatten(-1, (self.low_heads, -1)).transpose(1, 2)
            for part in (self.low_query(padded).flatten(1, 2), *key_value.chunk(2, dim=-1))
        )  # (B, heads, ., d_head) each
        attended = F.scaled_dot_product_attention(query, key, value)
        attended = attended.transpose(1, 2).flatten(2).unflatten(1, padded.shape[1:3])
        return self.low_out(attended)  # (B, h', w', low)


class SpectralDecoderLayer(nn.Module):
    """Queries gather the mixed patches that they match, then a feed-forward; both post-norm."""

    def __init__(self, embed_dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.mixer = FrequencyMixer(embed_dim, heads)
        self.out = nn.Linear(embed_dim, embed_dim)
        self.attention_norm = nn.LayerNorm(embed_dim)
        self.expand = nn.Linear(embed_dim, 4 * embed_dim)
        self.contract = nn.Linear(4 * embed_dim, embed_dim)
        self.feedforward_norm = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Queries (B, C, d) and patches (B, h, w, d) to queries (B, C, d)."""
        mixed = self.mixer(patches).flatten(1, 2)  # (B, N, d)
        dropout = self.dropout.p if self.training else 0.0
        mixed = mixed[:, None]  # (B, 1, N, d): one head
        attended = F.scaled_dot_product_attention(
            queries[:, None], mixed, mixed, dropout_p=dropout, scale=1.0
        )[:, 0]  # (B, C, d)
        queries = self.attention_norm(queries + self.dropout(self.out(attended)))
        hidden = self.dropout(F.relu(self.expand(queries)))  # (B, C, 4d)
        return self.feedforward_norm(queries + self.dropout(self.contract(hidden)))


class SpectralDecoder(nn.Module):
    """`layers - 1` decoder layers, then mask logits as plain products of queries and mixed patches.

    All layers start as identical copies. `heads` is at least 2: both frequency bands need one.
    """

    def __init__(self, embed_dim: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        first = SpectralDecoderLayer(embed_dim, heads, dropout)
        self.layers = nn.ModuleList(copy.deepcopy(first) for _ in range(layers - 1))
        self.mixer = copy.deepcopy(first.mixer)

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Queries (B, C, d) and patches (B, h, w, d) to mask logits (B, C, h, w)."""
        for layer in self.layers:
            queries = layer(queries, patches)
        return torch.einsum("bcd,bhwd->bchw", queries, self.mixer(patches))
