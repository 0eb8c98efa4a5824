"""Any CLIP with a method that needs no training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade_clip.clip.load import FrozenClip, load_clip
from cascade_clip.clip.source import parse_clip
from cascade_clip.clip.templates import TEMPLATES
from cascade_clip.config import (
    ClipSettings,
    DataSettings,
    InferenceSettings,
    ModelSettings,
    Normalisation,
    Recipe,
)
from cascade_clip.config.recipes import parse_recipe
from cascade_clip.config.training_free import DEFAULT_METHOD, TrainingFreeSettings
from cascade_clip.errors import UserError
from cascade_clip.model.training_free.network import TrainingFreeNetwork

Method = str | Mapping[str, Any]
"""The name of a method, or settings with its `kind`."""


@dataclass(frozen=True)
class TrainingFreeBundle:
    """A training-free network with what is needed to use it."""

    network: TrainingFreeNetwork
    clip: FrozenClip
    recipe: Recipe
    templates: tuple[str, ...]
    classes: None = None
    """There is no training."""
    metrics: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def normalisation(self) -> Normalisation:
        """That of the network's pictures."""
        return self.recipe.data.normalisation(self.clip.normalisation)


def load_network(clip: str | Path, method: Method = DEFAULT_METHOD) -> TrainingFreeNetwork:
    """A CLIP as a segmentation network, without any training, in evaluation mode.

    `network(image, text)` takes normalised images (B, 3, H, W), sides multiples of the patch size,
    and L2-normalised text embeddings (C, d), or (C, K, d) of K names a class; its `mask_logits`
    (B, C, h, w) are cosines.

    Args:
        clip: `ViT-B-16/openai`, `local-dir:FOLDER`, or a weights file (see `parse_clip`).
        method: `sc-clip`, `naclip`, `clearclip`, `sclip`, `resclip`, `gem`, `maskclip` or `clip`;
            or settings of one, e.g. `{"kind": "naclip", "gaussian_sigma": 3.0}`.

    Raises `UserError` for an unknown CLIP or method, and weights that can't be read.
    """
    settings = read_method(method)
    return TrainingFreeNetwork(load_clip(parse_clip(clip)).visual, settings).eval()


def load_training_free(clip: ClipSettings, method: Method = DEFAULT_METHOD) -> TrainingFreeBundle:
    """A CLIP and a method, with settings for photographs. Raises `UserError` as `load_network`."""
    read_method(method)  # before a download
    loaded = load_clip(clip)
    recipe = photograph_recipe(method, loaded)
    model = recipe.model.model_copy(update={"clip": clip})
    return bundle_of(loaded, recipe.model_copy(update={"model": model}))


def photograph_recipe(method: Method, clip: FrozenClip) -> Recipe:
    """A method as it is used on photographs. Raises `UserError` as `read_method`."""
    settings = read_method(method)
    return Recipe(
        name=settings.kind,
        model=ModelSettings(training_free=settings),
        data=DataSettings(normalise="clip", templates="imagenet"),
        inference=photograph_inference(clip.image_size),
    )


def bundle_of(clip: FrozenClip, recipe: Recipe) -> TrainingFreeBundle:
    """What a recipe with `model.training_free` describes, on a CLIP that is loaded already."""
    settings = recipe.model.training_free
    assert settings is not None
    network = TrainingFreeNetwork(clip.visual, settings).eval()
    return TrainingFreeBundle(network, clip, recipe, TEMPLATES[recipe.data.templates])


def photograph_inference(image_size: int) -> InferenceSettings:
    """The published protocol for a CLIP of `image_size` pixels: windows of that size, half of them
    overlapping, in pictures one and a half times as large."""
    return InferenceSettings(
        crop=image_size,
        stride=image_size // 2,
        short_side=image_size * 3 // 2,
        long_side=2048,
        scores="softmax",
        seen_score_offset=0.0,
    )


def read_clip(clip: str | Path, pretrained: str | Path | None = None) -> ClipSettings:
    """The CLIP that `clip` names, with weights that `pretrained` names where they are apart.

    Raises `UserError` as `parse_clip`, and for weights beside a CLIP that comes with its own.
    """
    if pretrained is None:
        return parse_clip(clip)
    weights = str(pretrained) if isinstance(pretrained, Path) else pretrained
    named = {"model": clip, "pretrained": weights}
    return parse_recipe({"name": "clip", "model": {"clip": named}}).model.clip


def read_method(method: Method) -> TrainingFreeSettings:
    """Raises `UserError` for an unknown method and settings that it doesn't take."""
    recipe = parse_recipe({"name": "method", "model": {"training_free": method}})
    settings = recipe.model.training_free
    if settings is None:
        raise UserError(f"a method is a name, e.g. {DEFAULT_METHOD}, or settings; got None")
    return settings
