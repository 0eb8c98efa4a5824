"""What a run reads: the endless stream of training batches, and the validation pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat

import torch
from torch.utils.data import DataLoader

from cascade_clip.config import RGB, Recipe
from cascade_clip.data.samples import Batch, SegmentationDataset, collate
from cascade_clip.data.sampling import StepBatches
from cascade_clip.data.stream import TrainStream
from cascade_clip.data.transforms import TrainTransform
from cascade_clip.evaluation.evaluate import BATCH_SIZE, DatasetBatches
from cascade_clip.support.parallel import readers


def train_stream(recipe: Recipe, dataset: SegmentationDataset, mean: RGB) -> TrainStream:
    """The training samples of a run over `dataset`, as its seed orders and changes them, padded
    with `mean`, that of the normalisation."""
    transform = TrainTransform(recipe, dataset.classes, mean)
    endless = recipe.data.name == "picturebook"
    return TrainStream(dataset, transform, recipe.train.seed, endless=endless)


@dataclass(frozen=True)
class PartsOfSteps:
    """The batch of each step `parts` times in a row, once for each of the step's forward passes.

    A pass learns from its part of the pictures, but the first one has to see them all: what each
    divides its loss by is counted over the whole step.
    """

    steps: Iterable[Batch]
    parts: int

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.steps:
            yield from repeat(batch, self.parts)


def train_loader(
    recipe: Recipe,
    dataset: SegmentationDataset,
    mean: RGB,
    first_step: int,
    rank: int,
    world: int,
) -> PartsOfSteps:
    """The share of process `rank` of `world` in all steps over `dataset` from `first_step` on;
    `mean` as in `train_stream`."""
    settings = recipe.train
    stream = train_stream(recipe, dataset, mean)
    batches = StepBatches(settings.batch_size, first_step, rank, world)
    steps: DataLoader[Batch] = DataLoader(
        stream,  # type: ignore[arg-type]  # samples become batches in collate
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=readers(settings.workers),
        persistent_workers=settings.workers > 0,
        pin_memory=settings.accelerator != "cpu" and torch.cuda.is_available(),
    )
    return PartsOfSteps(steps, settings.accumulate)


def validation_loader(dataset: SegmentationDataset, rank: int, world: int) -> DataLoader[Batch]:
    """The share of process `rank` of `world` in the validation pictures; it may be empty."""
    batches = DatasetBatches(dataset, BATCH_SIZE, rank, world, skip_unreadable=True)
    return DataLoader(batches, batch_size=None)
