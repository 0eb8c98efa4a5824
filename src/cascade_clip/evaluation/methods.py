"""Methods that are measured side by side, and what they make of single pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cascade_clip.checkpoint.folder import Bundle
from cascade_clip.clip.load import load_clip
from cascade_clip.config import Normalisation, Recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.labels import full_targets, ignored_label
from cascade_clip.data.samples import Sample
from cascade_clip.evaluation.evaluate import predict
from cascade_clip.evaluation.examples import Example
from cascade_clip.evaluation.raw_clip import RawClip, raw_clip_recipe
from cascade_clip.evaluation.stages import StageView, stage_names
from cascade_clip.model.protocol import MaskNetwork


@dataclass(frozen=True)
class Method:
    """A network and how it is used."""

    network: MaskNetwork
    recipe: Recipe
    normalisation: Normalisation
    """That of its pictures."""


def trained_method(bundle: Bundle) -> Method:
    """The trained model itself."""
    return Method(bundle.network, bundle.recipe, bundle.normalisation)


def raw_clip_method(recipe: Recipe) -> Method:
    """The CLIP of a recipe without any training; a copy of its own."""
    clip = load_clip(recipe.model.clip)
    return Method(RawClip(clip.visual).eval(), raw_clip_recipe(recipe), clip.normalisation)


def stage_methods(bundle: Bundle) -> dict[str, Method]:
    """Each stage of a trained model by itself, named by its blocks."""
    return {
        name: replace(trained_method(bundle), network=StageView(bundle.network, stage).eval())
        for stage, name in enumerate(stage_names(bundle.network))
    }


def make_examples(
    samples: Sequence[Sample],
    methods: Mapping[str, Method],
    text_embeddings: Tensor,
    classes: ClassSet,
) -> list[Example]:
    """What each method makes of pictures of one size; `text_embeddings` (C, d) are those of
    `classes`."""
    images = torch.stack([sample.image for sample in samples])  # (B, 3, H, W)
    images = images.to(text_embeddings.device)
    predicted = {
        name: predict(c.network, images, text_embeddings, classes, c.recipe, c.normalisation)
        .cpu()
        .numpy()  # (B, H, W)
        for name, c in methods.items()
    }
    ignored = ignored_label(len(classes.names))
    return [
        Example(
            name=sample.name,
            image=sample.image.permute(1, 2, 0).numpy(),
            truth=full_targets(sample.labels, ignored).numpy(),
            predictions={name: labels[index] for name, labels in predicted.items()},
            ignored=ignored,
        )
        for index, sample in enumerate(samples)
    ]
