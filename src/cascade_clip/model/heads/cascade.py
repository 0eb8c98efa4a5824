"""The cascade: stages of levels, each with its own decoder; their mask logits are summed.

`CascadeHead` leaves open what decodes; with `CrossAttentionHead`, class queries attend to patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_clip.config.heads import CascadeSettings, CrossAttentionSettings, StagedSettings
from cascade_clip.errors import UserError
from cascade_clip.model.aggregation import build_aggregation
from cascade_clip.model.decoder import IDENTITY_LOGIT_SCALE, Decoder
from cascade_clip.model.fast.caching import WeightCache
from cascade_clip.model.heads.head import Head, one_prompt
from cascade_clip.model.protocol import Levels, Output, sum_of_stages


class CascadeHead(Head):
    """Cascade-CLIP's stages (arXiv 2406.00670, sections 3.2 and 3.3), whatever decodes them.

    `build_decoder()` makes the decoder of one stage, which maps queries (B, C, d) and patches
    (B, h, w, d) to mask logits (B, C, h, w).
    """

    def __init__(
        self, embed_dim: int, settings: StagedSettings, build_decoder: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        self.settings = settings
        self.stages = settings.stages_read
        self.aggregations = nn.ModuleList(
            build_aggregation(blocks, embed_dim, settings) for blocks in self.stages
        )
        self.query_projections = nn.ModuleList(
            QueryProjection(embed_dim, settings.relationship_descriptor)
            for _ in range(1 if settings.shared_queries else len(self.stages))
        )
        self.decoders = nn.ModuleList(build_decoder() for _ in self.stages)

    def forward(self, levels: Levels, text: Tensor) -> Output:
        """Levels and unit text embeddings (C, 1, d) to mask logits summed over the stages.

        Raises `UserError` for several prompts a class.
        """
        text = one_prompt(text)  # (C, d)
        queries = [project(text, levels.global_embedding) for project in self.query_projections]
        if len(queries) < len(self.stages):
            queries = queries * len(self.stages)  # (B, C, d) each
        stage_logits = tuple(
            decoder(query, aggregate(levels.of(blocks)).unflatten(1, levels.grid))
            for query, blocks, aggregate, decoder in zip(
                queries, self.stages, self.aggregations, self.decoders, strict=True
            )
        )  # (B, C, h, w) each
        return sum_of_stages(stage_logits, levels)


class CrossAttentionHead(CascadeHead):
    """With one stage of one block it is ZegCLIP's (arXiv 2212.03588), with three stages
    Cascade-CLIP's (arXiv 2406.00670), with one stage of all blocks naive fusion."""

    def __init__(self, embed_dim: int, settings: CrossAttentionSettings) -> None:
        super().__init__(embed_dim, settings, decoders_of(Decoder, embed_dim, settings))
        if settings.decoder_start == "identity":
            projections: list[Any] = list(self.query_projections)
            for projection in projections:
                projection.start_at_identity()
            for decoder in self._decoders():
                decoder.start_at_identity(IDENTITY_LOGIT_SCALE / len(self.stages))

    def low_precision_parts(self) -> Iterable[nn.Module]:
        return [decoder.layers for decoder in self._decoders()]

    def _decoders(self) -> list[Any]:
        return list(self.decoders)


def decoders_of(
    build: Callable[[int, int, int, float], nn.Module], embed_dim: int, settings: CascadeSettings
) -> Callable[[], nn.Module]:
    """What makes the decoders `build(embed_dim, heads, layers, dropout)` of these settings.

    Raises `UserError` if the attention heads don't divide the embedding width.
    """
    heads, layers = settings.decoder_heads, settings.decoder_layers
    check_heads(embed_dim, heads)
    return partial(build, embed_dim, heads, layers, settings.decoder_dropout)


def check_heads(embed_dim: int, heads: int) -> None:
    """Raises `UserError` unless `heads` divides the width."""
    if embed_dim % heads:
        allowed = [n for n in range(1, min(embed_dim, 64) + 1) if embed_dim % n == 0]
        raise UserError(
            f"decoder_heads is {heads}, which does not divide the embedding width {embed_dim}; "
            f"use one of {', '.join(map(str, allowed))}"
        )


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
