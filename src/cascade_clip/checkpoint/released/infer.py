"""What a released checkpoint says about itself: sizes from shapes, settings from its config.

The config holds leftovers that mean nothing (`num_classes=150`, `channels=768`) and leaves out what
has a default in the released classes (12 vision heads, 8 decoder heads); both are minded here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cascade_clip.checkpoint.released.classes import Overrides
from cascade_clip.checkpoint.released.config import (
    Config,
    rgb_values,
    section,
    square_side,
)
from cascade_clip.checkpoint.released.names import TEXT_PREFIX, shape
from cascade_clip.config import IMAGENET, RGB
from cascade_clip.errors import UserError

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Preprocessing:
    """Sliding windows in pixels; normalisation of RGB values in [0, 1]."""

    crop: int
    stride: int
    mean: RGB
    std: RGB


def vision(state: State, depth: int, config: Config, overrides: Overrides) -> dict[str, int]:
    """The image encoder of `depth` blocks, as fields of open_clip's `CLIPVisionCfg`."""
    width, _, patch, _ = shape(state, "backbone.conv1.weight", 4)
    positions = shape(state, "backbone.positional_embedding", 2)[0] - 1
    side = math.isqrt(positions)
    if side * side != positions or not positions or not patch:
        raise UserError(f"the checkpoint's {positions} patch positions are not a square grid")
    heads = overrides.vision_heads or section(config, "model", "backbone").get("heads", 12)
    return {
        "layers": depth,
        "width": width,
        "head_width": _divide(width, heads, "vision heads (give --vision-heads)"),
        "patch_size": patch,
        "image_size": side * patch,
    }


def text(state: State, depth: int, config: Config, overrides: Overrides) -> dict[str, int]:
    """The text encoder of `depth` blocks, as fields of open_clip's `CLIPTextCfg`."""
    vocabulary, width = shape(state, f"{TEXT_PREFIX}token_embedding.weight", 2)
    heads = overrides.text_heads or section(config, "model", "text_encoder").get(
        "transformer_heads", 1 if width % 8 else 8
    )
    _divide(width, heads, "text heads (give --text-heads)")
    return {
        "context_length": shape(state, f"{TEXT_PREFIX}positional_embedding", 2)[0],
        "vocab_size": vocabulary,
        "width": width,
        "heads": heads,
        "layers": depth,
    }


def decoder_heads(width: int, config: Config, overrides: Overrides) -> int:
    """Attention heads of the decoders. Raises `UserError` unless they divide the width."""
    heads = overrides.decoder_heads or section(config, "model", "decode_head").get("num_heads", 8)
    _divide(width, heads, "decoder heads (give --decoder-heads)")
    return int(heads)


def preprocessing(config: Config, image_size: int, overrides: Overrides) -> Preprocessing:
    """Sliding windows (by default of the training size, 426 px steps for 512) and normalisation."""
    test = section(config, "model", "test_cfg") or section(config, "test_cfg")
    crop = overrides.crop or square_side(test.get("crop_size", image_size), "crop_size")
    stride = overrides.stride or square_side(test.get("stride", crop * 426 // 512), "stride")
    norm = _normalisation(config)
    return Preprocessing(
        crop,
        stride,
        mean=rgb_values(norm["mean"], "mean") if "mean" in norm else IMAGENET.mean,
        std=rgb_values(norm["std"], "std") if "std" in norm else IMAGENET.std,
    )


def _normalisation(config: Config) -> Config:
    """mmcv's `img_norm_cfg`, or mmengine's `data_preprocessor`, each with its own default for the
    order of colours (OpenCV reads BGR)."""
    norm = section(config, "img_norm_cfg")
    rgb = norm.get("to_rgb", True)
    if not norm:
        norm = section(config, "model", "data_preprocessor") or section(config, "data_preprocessor")
        rgb = norm.get("bgr_to_rgb", not norm)
    if not rgb:
        raise UserError("the checkpoint was trained on BGR pictures (to_rgb=False); RGB is offered")
    return norm


def _divide(width: int, heads: Any, what: str) -> int:
    if type(heads) is not int or heads < 1 or width % heads or not width:
        raise UserError(f"{heads} {what} don't divide the width {width}")
    return width // heads
