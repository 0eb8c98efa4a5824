"""Trained models as folders: `config.json` and `model.safetensors`.

`model.safetensors` holds what was trained or added on top of the CLIP; the CLIP itself is named in
`config.json`, with a fingerprint of its weights. A model saved in full also holds its CLIP, in the
folder `clip/` in open_clip's layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cascade_clip.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from cascade_clip.checkpoint.clip_files import find_again, given_clip, standing_on
from cascade_clip.checkpoint.locate import find_model
from cascade_clip.clip.load import FrozenClip, load_clip
from cascade_clip.clip.weights import activation_name
from cascade_clip.config import ClipSettings, Normalisation, Recipe, Settings
from cascade_clip.config.model import LOCAL_DIR
from cascade_clip.config.recipes import parse_recipe
from cascade_clip.config.wrong_values import first_wrong_value
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.model.fast.blocks import has_quick_gelu
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.support.messages import some_of
from cascade_clip.support.plain_values import named, read_json

FORMAT_VERSION = 1


class ModelConfig(Settings):
    """What `config.json` holds."""

    format_version: int = FORMAT_VERSION
    recipe: dict[str, Any]
    classes: tuple[str, ...]
    unseen: tuple[str, ...]
    prompts: tuple[str, ...] = ()
    """What prompts say for each class; empty: its name."""
    templates: tuple[str, ...]
    """Prompt templates, `{}` standing for the class name."""
    clip_fingerprint: str | None
    """SHA-256 of the CLIP that the model was trained on; None: not checked."""
    trunk: Literal["clip"] | None = None
    """Folder within the model's that holds the CLIP itself; None if it isn't stored."""
    clip_beside: str | None = None
    """Path from the model's folder to its CLIP, where that is a file or folder; besides the whole
    path in the recipe, for both moved together."""
    quick_gelu: bool | None = None
    """The activation of that CLIP, which its fingerprint doesn't see; None: not checked."""
    metrics: dict[str, float | None] = Field(default_factory=dict)


@dataclass
class Bundle:
    """A loaded model with all that belongs to it."""

    network: SegmentationNetwork
    clip: FrozenClip = field(repr=False)
    """The CLIP below the network; its text encoder belongs to the model."""
    recipe: Recipe
    classes: ClassSet
    templates: tuple[str, ...]
    metrics: dict[str, float | None] = field(default_factory=dict)
    clip_fingerprint: str | None = None
    has_trunk: bool = False
    """Whether the folder holds the CLIP too; `recipe.model.clip` then names it there."""

    @property
    def normalisation(self) -> Normalisation:
        """That of the network's pictures."""
        return self.recipe.data.normalisation(self.clip.normalisation)

    def text(self, names: Sequence[str], templates: Sequence[str] | None = None) -> Tensor:
        """Text embeddings of names as the network takes them, (C, d) or (C, K, d): in the model's
        templates or in others."""
        wanted = self.templates if templates is None else templates
        return self.clip.text_encoder(names, wanted, average=self.recipe.data.average_templates)


def load_model(folder: str | Path) -> SegmentationNetwork:
    """The network of a model folder, in evaluation mode. Raises `UserError` as `load_bundle`."""
    return load_bundle(folder).network


def load_bundle(
    folder: str | Path, revision: str | None = None, *, pretrained: str | None = None
) -> Bundle:
    """The model of a folder with its CLIP, recipe and classes, in evaluation mode.

    `folder` may also be a run folder, `picturebook` for the model within the package, or
    `organisation/model` on the Hugging Face hub, at a `revision` (branch, tag or commit) of it.
    `pretrained` says where the weights of its CLIP lie now; None: where they lay in training.

    Raises `UserError` if files are missing, damaged, of another format version or of another model,
    if weights are not finite, or if the CLIP has other weights than the one trained on.
    """
    folder = find_model(folder, revision)
    config = _read_config(folder)
    recipe = parse_recipe(config.recipe)
    classes = ClassSet(config.classes, config.unseen, config.prompts)
    adapter = _read_weights(folder / WEIGHTS_FILE)
    recipe, clip = load_trained_clip(config, recipe, folder, pretrained)
    network = SegmentationNetwork(clip.visual, recipe.model)
    try:
        network.load_adapter_state_dict(adapter)
    except UserError as error:
        raise UserError(f"{folder / WEIGHTS_FILE}: {error}") from error
    return Bundle(
        network=network.eval(),
        clip=clip,
        recipe=recipe,
        classes=classes,
        templates=config.templates,
        metrics=config.metrics,
        clip_fingerprint=config.clip_fingerprint,
        has_trunk=config.trunk is not None,
    )


def _read_config(folder: Path) -> ModelConfig:
    path = folder / CONFIG_FILE
    values = named(read_json(path), str(path))
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {version!r}, this program reads {FORMAT_VERSION}; "
            "use a matching version of cascade-clip"
        )
    try:
        return ModelConfig.model_validate(values)
    except ValidationError as error:
        wrong = first_wrong_value(error)
        raise UserError(f"{path} is not a model's configuration: {wrong}") from error


def names_not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """The tensors that hold NaN or infinity."""
    return [name for name, value in state.items() if not bool(torch.isfinite(value).all())]


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        state = load_file(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing; the model folder is incomplete") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}; fetch or train the model again") from error
    broken = names_not_finite(state)
    if broken:
        raise UserError(
            f"{path} holds values that are not finite, in {some_of(broken, 3)}; the training "
            "diverged, use an earlier checkpoint"
        )
    return state


def load_trained_clip(
    config: ModelConfig, recipe: Recipe, folder: Path, pretrained: str | None
) -> tuple[Recipe, FrozenClip]:
    """The CLIP of a model in `folder`, and its recipe with the place where that was found.

    Raises `UserError` if it can't be found, or is another one than the model was trained on.
    """
    settings = recipe.model.clip
    if pretrained is not None:
        settings = given_clip(settings, pretrained, config.quick_gelu)
    elif config.trunk is not None:
        settings = ClipSettings(model=f"{LOCAL_DIR}{folder / config.trunk}")
    else:
        settings = find_again(settings, folder, config.clip_beside)
    recipe = standing_on(recipe, settings)
    clip = load_clip_checked(recipe, config.clip_fingerprint)
    quick_gelu = has_quick_gelu(clip.model.visual.transformer.resblocks[0])
    if config.quick_gelu not in (None, quick_gelu):
        raise UserError(
            f"the model was trained on a CLIP with {activation_name(not quick_gelu)}, but "
            f"'{clip.name}' has {activation_name(quick_gelu)}; give the CLIP it was trained on"
        )
    return recipe, clip


def load_clip_checked(recipe: Recipe, expected: str | None) -> FrozenClip:
    """The CLIP that a recipe names.

    Raises `UserError` if there is none, or its fingerprint is not the `expected` one.
    """
    clip = load_clip(recipe.model.clip)
    found = clip.fingerprint  # taken before anything can change the image encoder
    if expected not in (None, found):
        raise UserError(
            f"the model was trained on another CLIP: '{clip.name}' has the fingerprint "
            f"{found[:12]}, expected {expected[:12]}; give the CLIP it was trained on with "
            "--pretrained FILE"
        )
    return clip
