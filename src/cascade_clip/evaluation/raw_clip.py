"""CLIP as it is, without any training, as a segmentation network: the baseline of all others."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cascade_clip.clip.text import mean_prompt
from cascade_clip.config import EncoderSettings, Recipe
from cascade_clip.model.encoder import ImageEncoder
from cascade_clip.model.protocol import Output


class RawClip(nn.Module):
    """Cosine similarity of CLIP's own patch embeddings (`ln_post` and projection) and the text.

    A `MaskNetwork`; `visual` is open_clip's
    `VisionTransformer`. It is frozen here, so give it one that no network is training.
    """

    def __init__(self, visual: Any) -> None:
        super().__init__()
        settings = EncoderSettings(tuning="frozen", class_embedding_twice=False)
        depth = len(visual.transformer.resblocks)
        self.encoder = ImageEncoder(visual, settings, (depth,))

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return self.encoder.patch_size

    def forward(self, image: Tensor, text_embeddings: Tensor) -> Output:
        """Normalised images (B, 3, H, W) and text embeddings (C, d) to cosine similarities; of
        several prompts a class, (C, K, d), with their mean."""
        levels, names = self.encoder(image), mean_prompt(text_embeddings)
        similarity = torch.einsum("bnd,cd->bcn", levels.features[-1], names)
        mask_logits = similarity.unflatten(2, levels.grid)  # (B, C, h, w)
        return Output(mask_logits, (mask_logits,), levels)


def raw_clip_recipe(recipe: Recipe) -> Recipe:
    """`recipe` as raw CLIP needs it in inference: its own normalisation, no seen-score offset."""
    data = recipe.data.model_copy(update={"normalise": "clip"})
    inference = recipe.inference.model_copy(update={"seen_score_offset": 0.0})
    return recipe.model_copy(update={"data": data, "inference": inference})
