"""The head: stages of levels, each with its own decoder; their mask logits are summed."""

from __future__ import annotations

from torch import Tensor, nn

from cascade_clip.config import HeadSettings
from cascade_clip.errors import UserError
from cascade_clip.model.aggregation import build_aggregation, stages_read
from cascade_clip.model.decoder import IDENTITY_LOGIT_SCALE, Decoder
from cascade_clip.model.descriptor import QueryProjection
from cascade_clip.model.levels import Levels
from cascade_clip.model.spectral_decoder import SpectralDecoder


class CascadeHead(nn.Module):
    """Cascade-CLIP's head (arXiv 2406.00670, sections 3.2 and 3.3).

    With one stage of one block it is ZegCLIP's; with one stage of all blocks it is naive fusion.

    Raises `UserError` if the heads don't divide the embedding width.
    """

    def __init__(self, embed_dim: int, settings: HeadSettings) -> None:
        super().__init__()
        check_heads(embed_dim, settings.decoder_heads)
        stages = stages_read(settings)
        self.stages = stages
        self.aggregations = nn.ModuleList(
            build_aggregation(blocks, embed_dim, settings) for blocks in stages
        )
        projections = [
            QueryProjection(embed_dim, settings.relationship_descriptor)
            for _ in range(1 if settings.shared_queries else len(stages))
        ]
        decoders = [build_decoder(embed_dim, settings) for _ in stages]
        if settings.decoder_start == "identity":
            for projection in projections:
                projection.start_at_identity()
            for decoder in decoders:
                if isinstance(decoder, Decoder):
                    decoder.start_at_identity(IDENTITY_LOGIT_SCALE / len(stages))
        self.query_projections = nn.ModuleList(projections)
        self.decoders = nn.ModuleList(decoders)

    def forward(self, levels: Levels, text_embeddings: Tensor) -> tuple[Tensor, ...]:
        """Levels and text embeddings (C, d) to mask logits (B, C, h, w) per stage."""
        queries = [
            project(text_embeddings, levels.global_embedding) for project in self.query_projections
        ]  # (B, C, d) each
        if len(queries) < len(self.stages):
            queries = queries * len(self.stages)
        return tuple(
            decoder(query, aggregate(levels.of(blocks)).unflatten(1, levels.grid))
            for query, blocks, aggregate, decoder in zip(
                queries, self.stages, self.aggregations, self.decoders, strict=True
            )
        )


def build_decoder(embed_dim: int, settings: HeadSettings) -> Decoder | SpectralDecoder:
    """One stage's decoder, of the kind that `settings.decoder` names."""
    decoder = SpectralDecoder if settings.decoder == "spectral" else Decoder
    return decoder(
        embed_dim, settings.decoder_heads, settings.decoder_layers, settings.decoder_dropout
    )


def check_heads(embed_dim: int, heads: int) -> None:
    """Raises `UserError` unless `heads` divides the width."""
    if embed_dim % heads:
        allowed = [n for n in range(1, min(embed_dim, 64) + 1) if embed_dim % n == 0]
        raise UserError(
            f"decoder_heads is {heads}, which does not divide the embedding width {embed_dim}; "
            f"use one of {', '.join(map(str, allowed))}"
        )
