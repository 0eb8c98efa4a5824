"""Small networks for tests: every size free, random weights that matter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cascade_clip.clip.build import build_clip
from cascade_clip.config import EncoderSettings, ModelSettings
from cascade_clip.model.network import SegmentationNetwork

EMBED_DIM = 16


def build_visual(
    depth: int = 4, width: int = 24, heads: int = 3, patch: int = 8, image: int = 32
) -> nn.Module:
    vision = {
        "layers": depth,
        "width": width,
        "head_width": width // heads,
        "patch_size": patch,
        "image_size": image,
    }
    text = {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1}
    return build_clip(EMBED_DIM, vision, text, quick_gelu=True).visual


def build_settings(
    encoder: dict[str, Any] | None = None, head: dict[str, Any] | None = None
) -> ModelSettings:
    defaults = {"stages": ((1, 2), (3,), (4,)), "decoder_heads": 4}
    prompts = {"prompts": 2} if "tuning" not in (encoder or {}) else {}
    return ModelSettings(
        encoder=EncoderSettings(**(prompts | (encoder or {}))),
        head=defaults | (head or {}),
    )


def build_network(settings: ModelSettings | None = None, **sizes: int) -> SegmentationNetwork:
    """In evaluation mode. Weights that start at 0 or 1 (norms, biases) are moved away from there,
    so that a test notices whether they are used."""
    network = SegmentationNetwork(build_visual(**sizes), settings or build_settings())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return network.eval()


def random_text(classes: int) -> Tensor:
    return nn.functional.normalize(torch.randn(classes, EMBED_DIM), dim=-1)
