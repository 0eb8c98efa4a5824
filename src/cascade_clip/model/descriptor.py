"""From text embeddings to the queries of a decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class QueryProjection(nn.Module):
    """Queries from text embeddings T and an image's global embedding g.

    With the relationship descriptor (ZegCLIP, arXiv 2212.03588, equation 6): a linear layer over
    concat(T * g, T); without it, over T alone, the same for every image.
    """

    def __init__(self, embed_dim: int, relationship_descriptor: bool) -> None:
        super().__init__()
        self.relationship_descriptor = relationship_descriptor
        self.linear = nn.Linear((1 + relationship_descriptor) * embed_dim, embed_dim)

    def forward(self, text: Tensor, global_embedding: Tensor) -> Tensor:
        """Text embeddings (C, d) and global embeddings (B, d) to queries (B, C, d)."""
        if not self.relationship_descriptor:
            return self.linear(text).expand(len(global_embedding), -1, -1)
        matched, alone = self.linear.weight.chunk(2, dim=1)  # (d, d) each
        shared = F.linear(text, alone, self.linear.bias)  # (C, d)
        return F.linear(text * global_embedding[:, None], matched) + shared  # (B, C, d)

    @torch.no_grad()
    def start_at_identity(self) -> None:
        """Makes the queries start as the text embeddings themselves."""
        embed_dim = self.linear.out_features
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.linear.weight[:, -embed_dim:].fill_diagonal_(1.0)
