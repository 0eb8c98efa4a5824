"""CLIPs that open_clip's configuration describes: with random weights, and with given ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cascade_clip.clip.transformer import CLIP, TextConfig, VisionConfig
from cascade_clip.clip.weights import describe_differences, is_random
from cascade_clip.errors import UserError
from cascade_clip.support.messages import notice


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
    `dict(context_length=77, vocab_size=49408, width=512, heads=8, layers=12)`. With others than
    those of `VisionConfig` and `TextConfig` it is open_clip's own `CLIP`, whose parts are alike.
    """
    if _has_only(vision, VisionConfig) and _has_only(text, TextConfig):
        sizes = VisionConfig(**vision), TextConfig(**text)
        return CLIP(embed_dim, *sizes, quick_gelu, init_logit_bias)
    from open_clip import model as library  # late: its import takes longer than a mask does

    parts: Any = library.CLIPVisionCfg(**vision), library.CLIPTextCfg(**text)
    other: Any = library.CLIP(embed_dim, *parts, quick_gelu, init_logit_bias=init_logit_bias)
    return other


def _has_only(given: Mapping[str, Any], config: type[VisionConfig | TextConfig]) -> bool:
    return given.keys() <= {field.name for field in fields(config)}


class _WithoutValues(TorchFunctionMode):
    """Leaves out operations that only fill tensors. On the meta device there is nothing to fill,
    yet their versions for it, in Python, import torch's compiler, which takes seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.normal_, nn.init.normal_, Tensor.triu_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def sketch_clip(config: Mapping[str, Any]) -> CLIP:
    """The CLIP that open_clip's `model_cfg` describes, on torch's meta device: sizes alone, without
    memory and without the seconds that random weights take."""
    with torch.device("meta"), _WithoutValues():
        return build_clip(
            config["embed_dim"],
            config["vision_cfg"],
            config["text_cfg"],
            quick_gelu=bool(config.get("quick_gelu", False)),
            init_logit_bias=config.get("init_logit_bias"),
        )


def fill_clip(model: CLIP, state: Mapping[str, Tensor], source: str, name: str) -> CLIP:
    """A CLIP of `sketch_clip` with the weights in `state`, on the CPU; for random ones a line on
    stderr says so.

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
    if is_random(state):
        notice(
            f"{source} holds random weights, which no training has changed: labels will mean "
            "nothing. Trained ones are e.g. ViT-B-16/openai"
        )
    # Copies, as files may be mapped into memory. (`to_empty` would import sympy, for a second.)
    own = {key: value.clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    model.load_state_dict(own, assign=True)
    if model.attn_mask is not None:  # the one buffer that weights don't hold
        model.attn_mask = torch.full(model.attn_mask.shape, -torch.inf).triu_(1)
    return model
