"""A model from wherever it lies: a model folder, or an exported file with what belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from cascade_clip.checkpoint.folder import Bundle, load_bundle, load_trained_clip
from cascade_clip.checkpoint.locate import ONNX_SUFFIX, TORCH_EXPORT_SUFFIX, is_exported
from cascade_clip.class_names import TypedClasses
from cascade_clip.clip.load import FrozenClip
from cascade_clip.config import Normalisation, Recipe
from cascade_clip.config.base import PrecisionChoice
from cascade_clip.config.recipes import parse_recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.export.network import ExportedNetwork, open_exported
from cascade_clip.support.messages import did_you_mean, notice, some_of

Engine = Literal["torch", "onnxruntime"]


@dataclass(frozen=True)
class FixedVocabulary:
    """In the place of a CLIP, of which it tells `name` and `fingerprint`: text embeddings are unit
    vectors (all names,), each pointing at the channel that the file gives a name."""

    name: str
    fingerprint: str | None
    normalisation: Normalisation
    """That of the file's pictures."""
    classes: TypedClasses
    """Those of the file; its channels are their names, in order."""
    templates: tuple[str, ...]
    """Those that the names were encoded in."""
    path: Path
    """The file, for messages."""

    def text_encoder(
        self, names: Sequence[str], templates: Sequence[str], *, average: bool = True
    ) -> Tensor:
        """(C, all names), whatever `average` is. Raises `UserError` for other names and
        templates."""
        channels = {name: channel for channel, name in enumerate(self.classes.names)}
        if tuple(templates) != self.templates or not channels.keys() >= set(names):
            raise UserError(
                f"{self.path} knows the classes {some_of(self.classes.names)} in the templates of "
                "its training, and no others; export the model without --classes for any names"
            )
        return torch.eye(len(channels))[[channels[name] for name in names]]


@dataclass(frozen=True)
class ExportedBundle:
    """An exported network with all that belongs to it."""

    network: ExportedNetwork
    clip: FrozenClip | FixedVocabulary
    """What encodes names for it."""
    recipe: Recipe
    classes: ClassSet | None
    """Those of its training; None: it was not trained."""
    templates: tuple[str, ...]
    metrics: dict[str, float | None]


def load_any(
    model: Path,
    device: torch.device,
    *,
    revision: str | None = None,
    pretrained: str | None = None,
    engine: Engine | None = None,
    precision: PrecisionChoice = "fp32",
) -> Bundle | ExportedBundle:
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
        return load_bundle(model, revision, pretrained=pretrained)
    if precision not in ("fp32", "auto"):
        raise UserError(f"{model} has the precision of its export; --precision can't change it")
    return load_exported(model, device, pretrained)


def load_exported(
    path: Path, device: torch.device, pretrained: str | None = None
) -> ExportedBundle:
    """The model in an .onnx or .pt2 file; what runs it computes on `device`.

    With free classes, the CLIP that the model stands on is loaded for its text encoder, from
    `pretrained` if that is given.

    Raises `UserError` as `open_exported`, and if that CLIP is missing or another one.
    """
    if path.suffix == TORCH_EXPORT_SUFFIX:
        notice(f"{path} can run any code when it is opened: open only files of people you trust")
    network = open_exported(path, device)
    exported, model = network.config, network.config.model
    recipe = parse_recipe(model.recipe)
    clip: FrozenClip | FixedVocabulary
    if exported.classes is None:
        recipe, clip = load_trained_clip(model, recipe, path.parent, pretrained)
    else:
        clip = FixedVocabulary(
            name=recipe.model.clip.model,
            fingerprint=model.clip_fingerprint,
            normalisation=exported.normalisation,
            classes=TypedClasses(exported.classes),
            templates=model.templates,
            path=path,
        )
    return ExportedBundle(
        network=network,
        clip=clip,
        recipe=recipe,
        classes=ClassSet(model.classes, model.unseen, model.prompts) if model.classes else None,
        templates=model.templates,
        metrics=model.metrics,
    )
