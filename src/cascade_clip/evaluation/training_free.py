"""Measures training-free methods on a data set, each by its own protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from rich.progress import Progress
from torch import Tensor

from cascade_clip.checkpoint.training_free import TrainingFreeBundle, bundle_of
from cascade_clip.class_names import TypedClasses
from cascade_clip.clip.load import FrozenClip
from cascade_clip.config import Recipe
from cascade_clip.config.base import PrecisionChoice
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.factory import open_dataset
from cascade_clip.data.part import Part
from cascade_clip.data.samples import SegmentationDataset
from cascade_clip.evaluation.evaluate import measure_labels
from cascade_clip.evaluation.metrics import Metrics
from cascade_clip.inference.predictor import Predictor
from cascade_clip.inference.query import Query, encode_query
from cascade_clip.model.fast.precision import Precision, at_precision, choose_precision
from cascade_clip.support.messages import Console


@dataclass(frozen=True)
class MethodResult:
    """What one method reached."""

    recipe: Recipe
    metrics: Metrics
    classes: ClassSet
    precision: Precision
    pictures: int
    seconds: float


def data_query(bundle: TrainingFreeBundle, classes: ClassSet, device: torch.device) -> Query:
    """The published names of a data set; those of class 0 are names of the background where that is
    all that belongs to no other class."""
    groups = classes.groups
    background = groups[0] if classes.background else ()
    typed = TypedClasses(groups[1:] if classes.background else groups)
    threshold = bundle.recipe.inference.threshold if classes.background else 0.0
    return encode_query(
        lambda names: bundle.clip.text_encoder(names, bundle.templates),
        typed,
        background,
        thresholds=[threshold] * len(typed.groups) if threshold else None,
        device=device,
    )


def labels_of(
    predictor: Predictor, query: Query, images: Tensor, *, has_background: bool
) -> Tensor:
    """Labels (B, H, W) of pictures (B, 3, H, W) uint8."""
    found = predictor.best(images, query)[0]
    return found + 1 if has_background else found  # the background, -1 there, is class 0 here


def measure_methods(
    clip: FrozenClip,
    recipes: Sequence[Recipe],
    device: torch.device,
    *,
    part: Part = "test",
    pictures: int | None = None,
    workers: int = 0,
    precision: PrecisionChoice = "fp32",
    quiet: bool = False,
) -> Iterator[MethodResult]:
    """The methods of `recipes` one after the other, each on the data that its recipe names, on at
    most `pictures` pictures, with a progress bar unless `quiet`.

    Raises `UserError` for data that can't be read, and a precision that can't be had here.
    """
    chosen = choose_precision(precision, device)
    with Progress(console=Console(stderr=True), disable=quiet) as progress:
        for recipe in recipes:
            dataset = open_dataset(recipe.data, part, pictures)
            task = progress.add_task(recipe.name, total=len(dataset))
            yield measure_method(
                clip, recipe, dataset, device, chosen, workers, partial(progress.advance, task)
            )


def measure_method(
    clip: FrozenClip,
    recipe: Recipe,
    dataset: SegmentationDataset,
    device: torch.device,
    precision: Precision = "fp32",
    workers: int = 0,
    advance: Callable[[int], None] = lambda pictures: None,
) -> MethodResult:
    """One method over all pictures of `dataset`; `advance` takes how many are done."""
    bundle, classes = bundle_of(clip, recipe), dataset.classes
    network = at_precision(bundle.network.to(device), precision)
    predictor = Predictor(network, recipe.inference, bundle.normalisation, device)
    query = data_query(bundle, classes, device)
    start = time.perf_counter()
    metrics = measure_labels(
        partial(labels_of, predictor, query, has_background=classes.background),
        dataset,
        classes,
        device,
        workers=workers,
        advance=advance,
    )
    seconds = time.perf_counter() - start
    return MethodResult(recipe, metrics, classes, precision, len(dataset), seconds)
