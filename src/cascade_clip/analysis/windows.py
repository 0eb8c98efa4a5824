"""One square window from the middle of each picture, so that all of them fit into one batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from torch import Tensor
from torchvision.transforms.v2 import CenterCrop

from cascade_clip.analysis.subjects import Subject
from cascade_clip.config import InferenceSettings
from cascade_clip.data.samples import Batch, Sample, SegmentationDataset, collate
from cascade_clip.ops.images import normalise, resize_bilinear, resize_nearest, scaled_size


def window_side(settings: InferenceSettings, patch_sizes: Iterable[int]) -> int:
    """Side of the window in pixels: the crop, or the short side if that is less, down to a multiple
    of every patch size."""
    unit = math.lcm(*patch_sizes)
    return max(1, min(settings.crop, settings.short_side) // unit) * unit


def central_window(sample: Sample, short_side: int, side: int) -> Sample:
    """The middle `side` x `side` pixels of the picture scaled to `short_side`, and their labels."""
    size = scaled_size(sample.image.shape[-2:], max(short_side, side))
    crop = CenterCrop(side)
    image, labels = resize_bilinear(sample.image, size), resize_nearest(sample.labels, size)
    return replace(sample, image=crop(image), labels=crop(labels))


def window_batches(
    dataset: SegmentationDataset, parts: Iterable[Sequence[int]], short_side: int, side: int
) -> Iterator[Batch]:
    """One batch for each part, a list of indices: images (B, 3, S, S) uint8, labels (B, S, S)."""
    for part in parts:
        yield collate([central_window(dataset[index], short_side, side) for index in part])


def network_input(images: Tensor, subject: Subject) -> Tensor:
    """Images (B, 3, S, S) uint8 with the subject's normalisation."""
    return normalise(images, subject.normalisation.mean, subject.normalisation.std)


def patch_side(subject: Subject) -> int:
    """Side of the subject's patches, the longer one if they aren't square."""
    return max(subject.encoder.patch_size)
