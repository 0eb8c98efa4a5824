"""An exported file with all that belongs to it, as a trained model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NoReturn, cast

import torch
from torch import nn

from cascade_clip.checkpoint.native import Bundle, load_bundle, load_clip_checked
from cascade_clip.checkpoint.places import ONNX_SUFFIX, TORCH_EXPORT_SUFFIX, is_exported
from cascade_clip.class_names import TypedClasses
from cascade_clip.clip.load import FrozenClip
from cascade_clip.clip.text import cache_key
from cascade_clip.config import Recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.export.metadata import ExportedConfig
from cascade_clip.export.network import open_exported
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.precision import PrecisionChoice
from cascade_clip.nearest import did_you_mean
from cascade_clip.notices import notice
from cascade_clip.recipes import parse_recipe
from cascade_clip.words import some_of

Engine = Literal["torch", "onnxruntime"]


def load_any(
    model: Path,
    device: torch.device,
    *,
    revision: str | None = None,
    engine: Engine | None = None,
    precision: PrecisionChoice = "fp32",
) -> Bundle:
    """A model from wherever `Segmenter.from_pretrained` takes it; see there."""
    if engine not in (None, "torch", "onnxruntime"):
        hint = did_you_mean(str(engine), ("torch", "onnxruntime"))
        raise UserError(f"the engine is torch or onnxruntime, got '{engine}'{hint}")
    if engine is not None and (engine == "onnxruntime") != (model.suffix == ONNX_SUFFIX):
        raise UserError(
            f"engine '{engine}' can't run {model}: onnxruntime runs .onnx files, torch all others; "
            f"write one with: cascade-clip export MODEL --out model{ONNX_SUFFIX}"
        )
    if not is_exported(model):
        return load_bundle(model, revision)
    if precision not in ("fp32", "auto"):
        raise UserError(f"{model} has the precision of its export; --precision can't change it")
    return load_exported(model, device)


def load_exported(path: Path, device: torch.device) -> Bundle:
    """The model in an .onnx or .pt2 file; what runs it computes on `device`.

    With free classes, the CLIP that the model stands on is loaded for its text encoder.

    Raises `UserError` as `open_exported`, and if that CLIP is missing or another one.
    """
    if path.suffix == TORCH_EXPORT_SUFFIX:
        notice(f"{path} can run any code when it is opened: open only files of people you trust")
    network = open_exported(path, device)
    config = network.config
    recipe = parse_recipe(config.model.recipe)
    if config.classes is None:
        clip = load_clip_checked(recipe, config.model.clip_fingerprint)
    else:
        clip = _clip_of_names(config, recipe, path)
    return Bundle(
        network=cast(SegmentationNetwork, network),  # it takes the place of one
        clip=clip,
        recipe=recipe,
        classes=ClassSet(config.model.classes, config.model.unseen, config.model.prompts),
        templates=config.model.templates,
        metrics=config.model.metrics,
        clip_fingerprint=config.model.clip_fingerprint,
        default_classes=None if config.classes is None else TypedClasses(config.classes),
    )


def _clip_of_names(config: ExportedConfig, recipe: Recipe, path: Path) -> FrozenClip:
    """In the place of a CLIP: the embeddings of fixed names, which are the numbers of their
    channels, and none besides."""
    names = config.names

    def refuse(texts: list[str]) -> NoReturn:
        raise UserError(
            f"{path} knows the classes {some_of(names)} in the templates of its training, and no "
            "others; export the model without --classes for any names"
        )

    clip = FrozenClip(
        model=nn.Identity(),
        name=recipe.model.clip.model,
        tokenize=refuse,
        embed_dim=1,
        image_size=recipe.data.crop,
        patch_size=config.patch_size[0],
        depth=0,
        mean=recipe.data.mean,
        std=recipe.data.std,
    )
    if config.model.clip_fingerprint is not None:
        clip.fingerprint = config.model.clip_fingerprint
    templates = cache_key(config.model.templates)
    for channel, name in enumerate(names):
        clip.text_cache[name, templates] = torch.tensor([float(channel)])
    return clip
