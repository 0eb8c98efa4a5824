"""ZegCLIP's and Cascade-CLIP's head: in each stage, class queries attend to patches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from cascade_clip.config.heads import CrossAttentionSettings
from cascade_clip.model.decoder import IDENTITY_LOGIT_SCALE, Decoder
from cascade_clip.model.heads.cascade import CascadeHead, decoders_of


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
