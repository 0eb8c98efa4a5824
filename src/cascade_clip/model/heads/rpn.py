"""RPN's head (Relationship Prompt Networks, NeurIPS 2024): queries and patches meet directly.

There is no decoder. What makes patches fit the classes happens in the image encoder, by its
relationship prompts (`model/prompts.py`).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from cascade_clip.config.heads import RpnSettings
from cascade_clip.model.heads.cascade import CascadeHead


class RpnHead(CascadeHead):
    """With one stage of the last block it is RPN's; with several, the cascade on top."""

    def __init__(self, embed_dim: int, settings: RpnSettings) -> None:
        super().__init__(embed_dim, settings, partial(NormedProducts, embed_dim))


class NormedProducts(nn.Module):
    """Mask logits as products of queries and patches, both projected and normalised, divided by
    sqrt(d)."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.scale = embed_dim**-0.5
        self.query = nn.Linear(embed_dim, embed_dim)
        self.query_norm = nn.LayerNorm(embed_dim)
        self.patch = nn.Linear(embed_dim, embed_dim)
        self.patch_norm = nn.LayerNorm(embed_dim)
        for linear in (self.query, self.patch):
            nn.init.trunc_normal_(linear.weight, std=0.02)

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Queries (B, C, d) and patches (B, h, w, d) to mask logits (B, C, h, w)."""
        queries = self.scale * self.query_norm(self.query(queries))  # (B, C, d)
        patches = self.patch_norm(self.patch(patches))  # (B, h, w, d)
        return torch.einsum("bcd,bhwd->bchw", queries, patches)
