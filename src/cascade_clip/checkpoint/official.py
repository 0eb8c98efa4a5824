"""Released Cascade-CLIP and ZegCLIP checkpoints (`.pth` of mmcv) to our settings and weights.

Sizes come from the shapes of the weights, settings from the text in `meta["config"]`, which is
parsed and never run. The class embedding counts twice, as it did when these weights were trained,
and the position embedding is taken as it lies there, already resized to the training grid.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cascade_clip.checkpoint import official_infer as infer
from cascade_clip.checkpoint.official_config import read_released_config
from cascade_clip.checkpoint.official_infer import Classes, Overrides, Preprocessing, Templates
from cascade_clip.checkpoint.official_keys import (
    ReleasedSizes,
    dead_weights,
    refuse_foreign,
    to_native,
    to_native_text,
)
from cascade_clip.clip.load import build_clip
from cascade_clip.config import ModelSettings
from cascade_clip.errors import UserError
from cascade_clip.model.network import SegmentationNetwork


@dataclass(frozen=True)
class ReleasedModel:
    """A released checkpoint in our terms."""

    settings: ModelSettings
    sizes: ReleasedSizes
    vision: dict[str, int]
    """Fields of open_clip's `CLIPVisionCfg`. The activation is QuickGELU."""
    text: dict[str, int]
    """Fields of open_clip's `CLIPTextCfg`."""
    network_state: dict[str, Tensor]
    """The state dict of our `SegmentationNetwork`, CLIP image encoder included."""
    text_state: dict[str, Tensor]
    """The state dict of open_clip's `CLIP` without `visual.` and `logit_scale`."""
    classes: Classes
    preprocessing: Preprocessing
    templates: Templates = "single"
    dropped: tuple[str, ...] = ()
    """Names of the dead weights that the checkpoint holds."""

    @property
    def embed_dim(self) -> int:
        """Width of the joint embedding space."""
        return self.sizes.embed_dim


def load_released(path: Path, overrides: Overrides | None = None) -> ReleasedModel:
    """Reads a released checkpoint; nothing in it is executed.

    Raises `UserError` if the file is no such checkpoint, is damaged, holds values that are not
    finite, weights that are unknown or missing, or settings that we don't offer.
    """
    state, meta = _read(path)
    return convert_released(state, meta, overrides or Overrides())


def convert_released(
    state: Mapping[str, Tensor], meta: Mapping[str, Any], overrides: Overrides
) -> ReleasedModel:
    """The same from the two parts of a checkpoint that matter."""
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise UserError(f"the checkpoint holds NaN or infinite values in {', '.join(broken)}")
    refuse_foreign(state)
    config = read_released_config(str(meta.get("config", "")))
    sizes = infer.sizes(state, config)
    vision = infer.vision(state, sizes, config, overrides)
    return ReleasedModel(
        settings=infer.settings(state, sizes, config, overrides),
        sizes=sizes,
        vision=vision,
        text=infer.text(state, sizes, config, overrides),
        network_state=to_native(state, sizes),
        text_state=to_native_text(state, sizes),
        classes=infer.classes(config, meta, overrides),
        preprocessing=infer.preprocessing(config, vision["image_size"], overrides),
        templates=infer.templates(config, overrides),
        dropped=tuple(sorted(state.keys() & dead_weights(sizes).keys())),
    )


def build_released(model: ReleasedModel) -> tuple[nn.Module, SegmentationNetwork]:
    """The CLIP (open_clip's) and our network on top of its image encoder, with the weights loaded,
    in evaluation mode. Raises `UserError` if shapes don't fit."""
    clip = build_clip(model.embed_dim, model.vision, model.text, quick_gelu=True)
    network = SegmentationNetwork(clip.visual, model.settings)
    text_only = {n: v for n, v in clip.state_dict().items() if n == "logit_scale"}
    visual = {f"visual.{n}": v for n, v in clip.visual.state_dict().items()}
    try:
        network.load_state_dict(model.network_state)
        clip.load_state_dict({**visual, **text_only, **model.text_state})
    except RuntimeError as error:
        raise UserError(f"the checkpoint's weights don't fit each other: {error}") from error
    return clip.eval(), network.eval()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is not a plain weights file, or holds code, which is never run: "
            f"{str(error).splitlines()[0]}"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged or no checkpoint: {error}") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "meta"} <= checkpoint.keys():
        raise UserError(
            f"{path} is not a released checkpoint: expected a dict with 'state_dict' and 'meta'"
        )
    state, meta = checkpoint["state_dict"], checkpoint["meta"]
    tensors = isinstance(state, dict) and all(isinstance(v, Tensor) for v in state.values())
    if not tensors or not isinstance(meta, dict):
        raise UserError(
            f"{path} is not a released checkpoint: 'state_dict' must map names to tensors, and "
            "'meta' must be a dict"
        )
    return state, meta
