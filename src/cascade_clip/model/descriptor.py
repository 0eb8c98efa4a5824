"""From text embeddings to the queries of a decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_clip.model.fast.caching import WeightCache


class QueryProjection(nn.Module):
    """Queries from text embeddings T and an image's global embedding g.

    With the relationship descriptor (ZegCLIP, arXiv 2212.03588, equation 6): a linear layer over
    concat(T * g, T); without it, over T alone, the same for every image.
    """

    def __init__(self, embed_dim: int, relationship_descriptor: bool) -> None:
        super().__init__()
        self.relationship_descriptor = relationship_descriptor
        self.linear = nn.Linear((1 + relationship_descriptor) * embed_dim, embed_dim)
        self.cache = WeightCache()

    def forward(self, text: Tensor, global_embedding: Tensor) -> Tensor:
        """Text embeddings (C, d) and global embeddings (B, d) to queries (B, C, d)."""
        shared = self.cache.get(of_text_alone, text, self.linear)  # (C, d)
        if not self.relationship_descriptor:
            return shared.expand(global_embedding.shape[0], -1, -1)
        matched = self.linear.weight[:, : self.linear.out_features]  # (d, d)
        return F.linear(text * global_embedding[:, None], matched) + shared  # (B, C, d)

    @torch.no_grad()
    def start_at_identity(self) -> None:
        """Makes the queries start as the text embeddings themselves."""
        embed_dim = self.linear.out_features
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.linear.weight[:, -embed_dim:].fill_diagonal_(1.0)


def of_text_alone(text: Tensor, linear: nn.Linear) -> Tensor:
    """The part of the queries (C, d) that is the same for every image."""
    return F.linear(text, linear.weight[:, -linear.out_features :], linear.bias)
