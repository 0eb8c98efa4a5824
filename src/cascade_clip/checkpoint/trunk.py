"""The image encoder stored along with a model, for encoders that can't be had elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from cascade_clip.clip.load import build_clip
from cascade_clip.errors import UserError

_NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}


def describe_trunk(visual: nn.Module) -> dict[str, Any]:
    """What `build_trunk` needs to build an equal image encoder; plain values.

    Raises `UserError` for encoders with parts that this description can't tell.
    """
    block = visual.transformer.resblocks[0]
    width, embed_dim = visual.proj.shape
    scale = getattr(block.ls_1, "gamma", None)
    description = {
        "embed_dim": embed_dim,
        "quick_gelu": type(block.mlp.gelu).__name__ == "QuickGELU",
        "vision": {
            "layers": len(visual.transformer.resblocks),
            "width": width,
            "head_width": width // block.attn.num_heads,
            "mlp_ratio": block.mlp.c_fc.out_features / width,
            "patch_size": list(visual.patch_size),
            "image_size": list(visual.image_size),
            "ls_init_value": None if scale is None else 1.0,
            "no_ln_pre": isinstance(visual.ln_pre, nn.Identity),
        },
    }
    rebuilt = build_trunk(description)
    if str(rebuilt) != str(visual) or _shapes(rebuilt) != _shapes(visual):
        raise UserError(
            "this CLIP's image encoder has parts that a stored copy can't describe; save the model "
            "without its CLIP"
        )
    return description


def build_trunk(description: Mapping[str, Any]) -> nn.Module:
    """An image encoder with random weights. Raises `UserError` for a bad description."""
    try:
        clip = build_clip(
            description["embed_dim"],
            {**description["vision"], "patch_size": description["vision"]["patch_size"][0]},
            _NO_TEXT,
            quick_gelu=description["quick_gelu"],
        )
    except (KeyError, TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise UserError(f"the stored image encoder can't be rebuilt: {error!r}") from error
    visual: nn.Module = clip.visual
    return visual


def load_trunk(description: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """The stored image encoder. Raises `UserError` if weights and description don't fit."""
    visual = build_trunk(description)
    try:
        visual.load_state_dict(dict(state))
    except RuntimeError as error:
        raise UserError(f"the stored image encoder is incomplete: {error}") from error
    return visual


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}
