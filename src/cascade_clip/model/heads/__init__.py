"""The heads; which one a method has is its settings' `kind` (docs/adding-a-method.md)."""

from __future__ import annotations

from cascade_clip.config.heads import (
    ClipRcSettings,
    CrossAttentionSettings,
    HeadSettings,
    OTSegSettings,
    RpnSettings,
    SpectralSettings,
)
from cascade_clip.model.heads.cascade import CrossAttentionHead
from cascade_clip.model.heads.clip_rc import ClipRcHead
from cascade_clip.model.heads.head import Head
from cascade_clip.model.heads.otseg import OTSegHead
from cascade_clip.model.heads.rpn import RpnHead
from cascade_clip.model.heads.spectral import SpectralHead


def build_head(embed_dim: int, settings: HeadSettings) -> Head:
    """The head of these settings over embeddings of width `embed_dim`.

    Raises `UserError` if they don't fit the width.
    """
    match settings:
        case ClipRcSettings():
            return ClipRcHead(embed_dim, settings)
        case CrossAttentionSettings():
            return CrossAttentionHead(embed_dim, settings)
        case OTSegSettings():
            return OTSegHead(embed_dim, settings)
        case RpnSettings():
            return RpnHead(embed_dim, settings)
        case SpectralSettings():
            return SpectralHead(embed_dim, settings)
