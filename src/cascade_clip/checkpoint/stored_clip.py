"""A whole CLIP stored along with a model, for CLIPs that can't be had elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from cascade_clip.clip.build import build_clip
from cascade_clip.clip.load import WEIGHTS_FILE, FrozenClip
from cascade_clip.clip.source import CONFIG_FILE
from cascade_clip.errors import UserError
from cascade_clip.model.fast.blocks import has_quick_gelu


def store_clip(folder: Path, clip: FrozenClip) -> None:
    """Writes `clip` in open_clip's folder layout, as `load_clip_folder` reads it.

    Raises `UserError` for CLIPs with parts that the layout can't describe, `OSError` if the folder
    can't be written.
    """
    preprocess = {"mean": list(clip.mean), "std": list(clip.std)}
    config = {"model_cfg": describe_clip(clip.model), "preprocess_cfg": preprocess}
    folder.mkdir()
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_weights(folder / WEIGHTS_FILE, clip.model.state_dict())


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Raises `OSError` and `SafetensorError`."""
    # Cloned, as the format refuses tensors that share memory.
    save_file({k: v.detach().cpu().clone().contiguous() for k, v in state.items()}, path)
    path.chmod(0o644)  # safetensors makes files that only their owner can read


def describe_clip(model: Any) -> dict[str, Any]:
    """open_clip's `model_cfg` of its `CLIP`; plain values.

    Raises `UserError` for CLIPs with parts that this layout can't describe.
    """
    if not all(hasattr(model, name) for name in ("transformer", "token_embedding", "ln_final")):
        raise UserError("only CLIPs with OpenAI's form of text encoder can be stored with a model")
    vision, text = model.visual, model.transformer
    block = vision.transformer.resblocks[0]
    width, embed_dim = vision.proj.shape
    vocabulary, text_width = model.token_embedding.weight.shape
    description = {
        "embed_dim": embed_dim,
        "quick_gelu": has_quick_gelu(block),
        "init_logit_bias": None if getattr(model, "logit_bias", None) is None else 0.0,
        "vision_cfg": {
            "layers": len(vision.transformer.resblocks),
            "width": width,
            "head_width": width // block.attn.num_heads,
            "mlp_ratio": block.mlp.c_fc.out_features / width,
            "patch_size": vision.patch_size[0],
            "image_size": list(vision.image_size),
            "ls_init_value": None if getattr(block.ls_1, "gamma", None) is None else 1.0,
            "no_ln_pre": isinstance(vision.ln_pre, nn.Identity),
        },
        "text_cfg": {
            "context_length": model.positional_embedding.shape[0],
            "vocab_size": vocabulary,
            "width": text_width,
            "heads": text.resblocks[0].attn.num_heads,
            "layers": len(text.resblocks),
        },
    }
    rebuilt = build_clip(
        embed_dim,
        description["vision_cfg"],
        description["text_cfg"],
        quick_gelu=description["quick_gelu"],
        init_logit_bias=description["init_logit_bias"],
    )
    if str(rebuilt) != str(model) or _shapes(rebuilt) != _shapes(model):
        raise UserError("this CLIP has parts that a stored copy can't describe")
    return description


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}
