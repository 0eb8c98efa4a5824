"""Predicts the labels of a data set and measures them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from cascade_clip.checkpoint.folder import Bundle
from cascade_clip.class_names import classes_named
from cascade_clip.config import Normalisation, Recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.labels import full_targets, ignored_label
from cascade_clip.data.samples import Batch, Sample, SegmentationDataset, collate
from cascade_clip.errors import UserError
from cascade_clip.evaluation.metrics import Metrics, SegmentationMetrics
from cascade_clip.inference.predictor import Predictor
from cascade_clip.inference.query import encode_query
from cascade_clip.model.protocol import MaskNetwork
from cascade_clip.support.parallel import readers

BATCH_SIZE = 8


def evaluate(
    network: MaskNetwork,
    dataset: SegmentationDataset,
    text_embeddings: Tensor,
    recipe: Recipe,
    normalisation: Normalisation,
    *,
    classes: ClassSet | None = None,
    batch_size: int = BATCH_SIZE,
    workers: int = 0,
    advance: Callable[[int], None] = lambda pictures: None,
    watch: Callable[[Tensor, Tensor], None] = lambda predicted, truth: None,
) -> Metrics:
    """Metrics of `network` over all pictures of `dataset`, at their original size.

    `text_embeddings` (C, d) are those of the data set's classes, in label order; `normalisation` is
    that of the network's pictures. `classes` says which of them count as unseen (default: the data
    set's own split). `workers` processes read the pictures, or this one if 0. `advance` is told how
    many pictures are done, and `watch` gets their predicted and true labels (B, H, W).
    """
    classes = classes or dataset.classes
    training = network.training
    network.eval()
    metrics = measure_labels(
        labels_by(network, text_embeddings, classes, recipe, normalisation),
        dataset,
        classes,
        text_embeddings.device,
        batch_size=batch_size,
        workers=workers,
        advance=advance,
        watch=watch,
    )
    network.train(training)
    return metrics


def measure_labels(
    labels_of: Callable[[Tensor], Tensor],
    dataset: SegmentationDataset,
    classes: ClassSet,
    device: torch.device,
    *,
    batch_size: int = BATCH_SIZE,
    workers: int = 0,
    advance: Callable[[int], None] = lambda pictures: None,
    watch: Callable[[Tensor, Tensor], None] = lambda predicted, truth: None,
) -> Metrics:
    """Metrics of whatever gives labels (B, H, W) on `device` for pictures (B, 3, H, W) uint8; the
    rest as in `evaluate`."""
    ignored = ignored_label(len(classes.names))
    metrics = SegmentationMetrics(classes.names, classes.unseen, ignored).to(device)
    for batch in DatasetBatches(dataset, batch_size, workers=workers):
        images, labels = batch.images.to(device), full_targets(batch.labels.to(device), ignored)
        predicted = labels_of(images)
        metrics.update(predicted, labels)
        watch(predicted, labels)
        advance(len(images))
    return metrics.compute()


def evaluate_bundle(
    bundle: Bundle,
    dataset: SegmentationDataset,
    recipe: Recipe,
    device: torch.device,
    advance: Callable[[int], None] = lambda pictures: None,
) -> Metrics:
    """`evaluate` for a loaded model, on `device`, with the prompts and workers of its training."""
    text = bundle.text(dataset.classes.prompts).to(device)
    network, workers = bundle.network.to(device), recipe.train.workers
    return evaluate(
        network, dataset, text, recipe, bundle.normalisation, workers=workers, advance=advance
    )


def predict(
    network: MaskNetwork,
    images: Tensor,
    text_embeddings: Tensor,
    classes: ClassSet,
    recipe: Recipe,
    normalisation: Normalisation,
) -> Tensor:
    """Labels (B, H, W) of pictures (B, 3, H, W) uint8, over the classes of `text_embeddings`, as a
    `Segmenter` finds them."""
    return labels_by(network, text_embeddings, classes, recipe, normalisation)(images)


def labels_by(
    network: MaskNetwork,
    text_embeddings: Tensor,
    classes: ClassSet,
    recipe: Recipe,
    normalisation: Normalisation,
) -> Callable[[Tensor], Tensor]:
    """`predict` for many batches of pictures, on the device of the text embeddings."""
    device = text_embeddings.device
    query = encode_query(
        lambda names: text_embeddings,
        classes_named(classes.names),
        offsets=classes.score_offsets(recipe.inference.seen_score_offset),
        device=device,
    )
    predictor = Predictor(network, recipe.inference, normalisation, device)
    return lambda images: predictor.best(images, query)[0]


class DatasetBatches(IterableDataset[Batch]):
    """A data set once through, in order; neighbours of one size share a batch.

    Of `world` processes, the one of number `rank` gets every `world`-th picture. `workers` further
    processes read them, or this one if 0: the batches are the same. Pictures that can't be read
    raise `UserError`; with `skip_unreadable` they are left out and batches say so.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        *,
        workers: int = 0,
        skip_unreadable: bool = False,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.indices = range(rank, len(dataset), world)
        self.workers = workers
        self.skip_unreadable = skip_unreadable

    def __iter__(self) -> Iterator[Batch]:
        waiting: list[Sample] = []
        unreadable: list[str] = []
        for sample in self._read():
            if isinstance(sample, UserError):
                if not self.skip_unreadable:
                    raise sample
                unreadable.append(str(sample))
                continue
            full = len(waiting) == self.batch_size
            if waiting and (full or sample.image.shape != waiting[0].image.shape):
                yield collate(waiting)._replace(unreadable=tuple(unreadable))
                waiting, unreadable = [], []
            waiting.append(sample)
        if waiting:
            yield collate(waiting)._replace(unreadable=tuple(unreadable))
        elif unreadable:
            raise UserError(f"none of {len(unreadable)} pictures can be read: {unreadable[0]}")

    def _read(self) -> Iterable[Sample | UserError]:
        return DataLoader(
            _Readings(self.dataset),
            batch_size=None,
            sampler=self.indices,
            num_workers=readers(self.workers),
            generator=torch.Generator(),  # a loader draws a number: not from the one of training
        )


@dataclass(frozen=True)
class _Readings(Dataset[Sample | UserError]):
    """The samples of a data set; for one that can't be read the error, which a worker that raised
    it would bury in its traceback."""

    dataset: SegmentationDataset

    def __getitem__(self, index: int) -> Sample | UserError:
        try:
            return self.dataset[index]
        except UserError as error:
            return error
