"""CLIP weights as the library transformers names them, in the names of OpenAI and open_clip."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

RENAMED = (
    (r"vision_model\.embeddings\.class_embedding", "visual.class_embedding"),
    (r"vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"vision_model\.embeddings\.position_embedding\.weight", "visual.positional_embedding"),
    (r"vision_model\.pre_layrnorm\.", "visual.ln_pre."),
    (r"vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"visual_projection\.weight", "visual.proj"),
    (r"text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"text_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"text_model\.final_layer_norm\.", "ln_final."),
    (r"text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"text_projection\.weight", "text_projection"),
)
WITHIN_BLOCKS = (
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)
PART = re.compile(r"(.+)\.self_attn\.([qkv])_proj\.(weight|bias)")


def is_transformers(state: Mapping[str, Tensor]) -> bool:
    """Whether weights have the names of transformers' `CLIPModel`."""
    return any(name.startswith("vision_model.") for name in state)


def from_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of `CLIPModel` in open_clip's names and layouts."""
    renamed: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if name.endswith("position_ids"):
            continue
        ours = _rename(name)
        part = PART.fullmatch(ours)
        if part is None:
            transposed = ours in {"visual.proj", "text_projection"}  # (d, D) -> (D, d)
            renamed[ours] = value.T.contiguous() if transposed else value
        else:
            parts.setdefault(f"{part[1]}.attn.in_proj_{part[3]}", {})[part[2]] = value
    for name, by_part in parts.items():
        renamed[name] = torch.cat([by_part[key] for key in "qkv" if key in by_part])
    return renamed


def _rename(name: str) -> str:
    for pattern, ours in RENAMED:
        name, found = re.subn(f"^{pattern}", ours, name)
        if found:
            break
    for pattern, ours in WITHIN_BLOCKS:
        name = re.sub(pattern, ours, name)
    return name
