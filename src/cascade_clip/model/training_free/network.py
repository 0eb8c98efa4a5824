"""A CLIP as it is, as a segmentation network."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from cascade_clip.config.training_free import (
    GemSettings,
    LastBlockChoices,
    ScClipSettings,
    TrainingFreeSettings,
)
from cascade_clip.model.protocol import check_text
from cascade_clip.model.training_free.gem import gem_features
from cascade_clip.model.training_free.last_block import last_block_features
from cascade_clip.model.training_free.sc_clip import sc_clip_features
from cascade_clip.model.training_free.trunk import FrozenTrunk


@dataclass(frozen=True)
class Cosines:
    """B images, C classes, patch grid h x w."""

    mask_logits: Tensor
    """(B, C, h, w), cosines between patches and texts, -1 to 1."""


class TrainingFreeNetwork(nn.Module):
    """A training-free method on the CLIP image encoder `visual`: a `MaskNetwork`.

    `visual` is open_clip's `VisionTransformer`; the network uses the module itself and freezes it.

    Raises `UserError` for image encoders of another form.
    """

    def __init__(self, visual: nn.Module, settings: TrainingFreeSettings) -> None:
        super().__init__()
        self.settings = settings
        self.encoder = FrozenTrunk(visual, settings.positions)

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return self.encoder.patch_size

    def forward(self, image: Tensor, text_embeddings: Tensor) -> Cosines:
        """Cosines of normalised images (B, 3, H, W) and L2-normalised text embeddings (C, d), or
        (C, K, d), of which each class's best counts.

        H and W are multiples of the patch size, otherwise free.

        Raises `UserError` for other image sizes, and text embeddings of another width.
        """
        check_text(text_embeddings, self.encoder.embed_dim)
        features, grid = self.features(image)  # (B, N, d)
        texts = text_embeddings.flatten(0, -2).to(features.dtype)  # (C * K, d)
        cosines = texts @ features.mT  # (B, C * K, N)
        if text_embeddings.ndim == 3:
            cosines = cosines.unflatten(1, text_embeddings.shape[:2]).amax(dim=2)  # (B, C, N)
        return Cosines(cosines.unflatten(2, grid))

    def features(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Unit vectors (B, N, d) of the patches, row by row, and their grid (h, w)."""
        match self.settings:
            case ScClipSettings() as settings:
                return sc_clip_features(self.encoder, image, settings)
            case GemSettings() as settings:
                return gem_features(self.encoder, image, settings)
            case LastBlockChoices() as settings:
                return last_block_features(self.encoder, image, settings)
