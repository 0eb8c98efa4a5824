"""Predicts the labels of a data set and measures them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from cascade_clip.checkpoint.folder import Bundle
from cascade_clip.config import Recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.labels import full_targets
from cascade_clip.data.samples import Batch, Sample, SegmentationDataset, collate
from cascade_clip.data.transforms import prepare
from cascade_clip.errors import UserError
from cascade_clip.evaluation.metrics import Metrics, SegmentationMetrics
from cascade_clip.inference.sliding import sliding_labels, window_options
from cascade_clip.model.protocol import MaskNetwork

BATCH_SIZE = 8


def evaluate(
    network: MaskNetwork,
    dataset: SegmentationDataset,
    text_embeddings: Tensor,
    recipe: Recipe,
    *,
    classes: ClassSet | None = None,
    batch_size: int = BATCH_SIZE,
    advance: Callable[[int], None] = lambda pictures: None,
    watch: Callable[[Tensor, Tensor], None] = lambda predicted, truth: None,
) -> Metrics:
    """Metrics of `network` over all pictures of `dataset`, at their original size.

    `text_embeddings` (C, d) are those of the data set's classes, in label order. `classes` says
    which of them count as unseen (default: the data set's own split). `advance` is told how many
    pictures are done, and `watch` gets their predicted and true labels (B, H, W).
    """
    classes = classes or dataset.classes
    device = text_embeddings.device
    metrics = SegmentationMetrics(classes.names, classes.unseen).to(device)
    training = network.training
    network.eval()
    for batch in DatasetBatches(dataset, batch_size):
        images, labels = batch.images.to(device), full_targets(batch.labels.to(device))
        predicted = predict(network, images, text_embeddings, classes, recipe)
        metrics.update(predicted, labels)
        watch(predicted, labels)
        advance(len(images))
    network.train(training)
    return metrics.compute()


def evaluate_bundle(
    bundle: Bundle,
    dataset: SegmentationDataset,
    recipe: Recipe,
    device: torch.device,
    advance: Callable[[int], None] = lambda pictures: None,
) -> Metrics:
    """`evaluate` for a loaded model, on `device` and with the prompts of its training."""
    text = bundle.clip.text_encoder(dataset.classes.prompts, bundle.templates).to(device)
    return evaluate(bundle.network.to(device), dataset, text, recipe, advance=advance)


@torch.inference_mode()
def predict(
    network: MaskNetwork,
    images: Tensor,
    text_embeddings: Tensor,
    classes: ClassSet,
    recipe: Recipe,
) -> Tensor:
    """Labels (B, H, W) of pictures (B, 3, H, W) uint8, over the classes of `text_embeddings`."""
    return sliding_labels(
        network,
        prepare(images, recipe.data),
        text_embeddings,
        **window_options(recipe.data),
        output_size=(images.shape[-2], images.shape[-1]),
        offsets=classes.score_offsets(recipe.seen_score_offset),
    )


class DatasetBatches(IterableDataset[Batch]):
    """A data set once through, in order; neighbours of one size share a batch.

    Of `world` processes, the one of number `rank` gets every `world`-th picture. Pictures that
    can't be read raise `UserError`; with `skip_unreadable` they are left out and batches say so.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        *,
        skip_unreadable: bool = False,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.indices = range(rank, len(dataset), world)
        self.skip_unreadable = skip_unreadable

    def __iter__(self) -> Iterator[Batch]:
        waiting: list[Sample] = []
        unreadable: list[str] = []
        for index in self.indices:
            try:
                sample = self.dataset[index]
            except UserError as error:
                if not self.skip_unreadable:
                    raise
                unreadable.append(str(error))
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
