"""CLIPs of open_clip's own classes: with random weights, and with those of a state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor

from cascade_clip.clip.weights import describe_differences
from cascade_clip.errors import UserError


def build_clip(
    embed_dim: int,
    vision: Mapping[str, Any],
    text: Mapping[str, Any],
    quick_gelu: bool = False,
    init_logit_bias: float | None = None,
) -> CLIP:
    """A CLIP with random weights.

    `vision` and `text` hold fields of open_clip's `CLIPVisionCfg` and `CLIPTextCfg`, for example
    `dict(layers=12, width=768, head_width=64, patch_size=16, image_size=224)` and
    `dict(context_length=77, vocab_size=49408, width=512, heads=8, layers=12)`.
    """
    vision_cfg, text_cfg = CLIPVisionCfg(**vision), CLIPTextCfg(**text)
    return CLIP(
        embed_dim, vision_cfg, text_cfg, quick_gelu=quick_gelu, init_logit_bias=init_logit_bias
    )


def sketch_clip(config: Mapping[str, Any]) -> CLIP:
    """The CLIP that open_clip's `model_cfg` describes, on torch's meta device: sizes alone, without
    memory and without the seconds that random weights take."""
    with torch.device("meta"):
        return build_clip(
            config["embed_dim"],
            config["vision_cfg"],
            config["text_cfg"],
            quick_gelu=bool(config.get("quick_gelu", False)),
            init_logit_bias=config.get("init_logit_bias"),
        )


def fill_clip(model: CLIP, state: Mapping[str, Tensor], source: str, name: str) -> CLIP:
    """A CLIP of `sketch_clip` with the weights in `state`, on the CPU.

    Raises `UserError` if names or sizes differ; it calls the weights `source`, the CLIP `name`.
    """
    expected = model.state_dict()
    state = dict(state)
    for scalar in ("logit_scale", "logit_bias"):  # a number, or a row of one number
        if scalar in state and scalar in expected and state[scalar].numel() == 1:
            state[scalar] = state[scalar].reshape(expected[scalar].shape)
    different = describe_differences(state, expected, name)
    if different:
        raise UserError(f"{source} does not fit {name}: {different}")
    model.to_empty(device="cpu")
    model.load_state_dict(state)
    if model.attn_mask is not None:  # the one buffer that weights don't hold
        model.attn_mask.fill_(-torch.inf).triu_(1)
    return model
