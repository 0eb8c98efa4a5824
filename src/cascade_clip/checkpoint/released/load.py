"""Released checkpoints (`.pth`) of several methods to our settings and weights.

Sizes come from the shapes of the weights, settings from the text in `meta`, which is parsed and
never run. The class embedding counts twice, as it did when these weights were trained,
and the position embedding is taken as it lies there, already resized to the training grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cascade_clip.checkpoint.released import infer
from cascade_clip.checkpoint.released.classes import Classes, Overrides, read_classes
from cascade_clip.checkpoint.released.clip_rc import ClipRc
from cascade_clip.checkpoint.released.config import Config, config_of
from cascade_clip.checkpoint.released.family import Family, State
from cascade_clip.checkpoint.released.file import moving_averages, read_released_file, unwrap
from cascade_clip.checkpoint.released.infer import Preprocessing
from cascade_clip.checkpoint.released.names import TEXT_PREFIX, refuse
from cascade_clip.checkpoint.released.otseg import OTSeg
from cascade_clip.checkpoint.released.rpn import Rpn
from cascade_clip.checkpoint.released.zegclip import ZegClip
from cascade_clip.clip.build import build_clip
from cascade_clip.config import ModelSettings, Templates
from cascade_clip.errors import UserError
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.support.messages import some_of

FAMILIES: tuple[type[Family], ...] = (ClipRc, OTSeg, ZegClip, Rpn)
"""The first that recognises a checkpoint has it."""


@dataclass(frozen=True)
class ReleasedModel:
    """A released checkpoint in our terms."""

    family: Family
    settings: ModelSettings
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
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Other settings of the recipe that its family has."""
    dropped: tuple[str, ...] = ()
    """Names of what the checkpoint holds besides: dead weights and moving averages."""

    @property
    def embed_dim(self) -> int:
        """Width of the joint embedding space."""
        return self.family.embed_dim


def load_released(path: Path, overrides: Overrides | None = None) -> ReleasedModel:
    """Reads a released checkpoint; nothing in it is executed.

    Raises `UserError` if the file is no such checkpoint, is damaged, holds values that are not
    finite, weights that are unknown or missing, or settings that we don't offer.
    """
    state, meta = read_released_file(path)
    return convert_released(state, meta, overrides or Overrides())


def convert_released(
    state: Mapping[str, Tensor], meta: Mapping[str, Any], overrides: Overrides
) -> ReleasedModel:
    """The same from the two parts of a checkpoint that matter."""
    state = unwrap(state)
    averages = moving_averages(state)
    state = {name: value for name, value in state.items() if name not in averages}
    _check_values(state)
    config = config_of(meta)
    family = family_of(state, config)
    vision = infer.vision(state, family.depth, config, overrides)
    grid = vision["image_size"] // vision["patch_size"]
    return ReleasedModel(
        family=family,
        settings=ModelSettings(
            encoder=family.encoder(state, grid), head=family.head(state, config, overrides)
        ),
        vision=vision,
        text=infer.text(state, family.text_depth, config, overrides),
        network_state=family.to_native(state),
        text_state=family.to_native_text(state),
        classes=read_classes(config, meta, overrides),
        preprocessing=infer.preprocessing(config, vision["image_size"], overrides),
        templates=overrides.templates or family.templates(config),
        recipe=family.recipe(config),
        dropped=tuple(sorted(averages | (state.keys() & family.dead_weights().keys()))),
    )


def family_of(state: State, config: Config) -> Family:
    """The family of a checkpoint, at its sizes. Raises `UserError` if there is none."""
    prefixes = {prefix for family in FAMILIES for prefix in family.prefixes} | {TEXT_PREFIX}
    foreign = {name for name in state if not name.startswith(tuple(prefixes))}
    refuse("unknown weights, of no method that can be converted", foreign)
    for family in FAMILIES:
        if family.recognises(state, config):
            return family.of(state, config)
    raise UserError(
        "the checkpoint has no decoder of a method that can be converted: it is neither a "
        "Cascade-CLIP nor a ZegCLIP, OTSeg, CLIP-RC or RPN checkpoint"
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
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise UserError(
            f"the checkpoint's weights don't fit each other: {some_of(lines, 3, ' ')}"
        ) from error
    return clip.eval(), network.eval()


def _check_values(state: Mapping[str, Tensor]) -> None:
    """Raises `UserError` unless all weights are plain, finite numbers."""
    other = [
        name
        for name, value in state.items()
        if value.layout != torch.strided or value.is_quantized or not value.is_floating_point()
    ]
    if other:
        raise UserError(f"the checkpoint holds no plain floating numbers in {some_of(other, 3)}")
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise UserError(f"the checkpoint holds NaN or infinite values in {some_of(broken, 3)}")
