"""From decoded pictures to what the network takes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from cascade_clip.config import RGB, InferenceSettings, Normalisation, Recipe
from cascade_clip.data.augment import PadTo, RandomClassCrop, RandomScale, visible_classes
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.photometric import PhotometricDistortion
from cascade_clip.data.samples import Sample
from cascade_clip.ops.images import normalise, resize_bilinear, scaled_size


class TrainTransform:
    """Samples of any size to the crops of a recipe, changed at random as its `augment` says.

    Scale, crop, flip, photometric distortion, padding, in this order; normalisation comes after,
    batch by batch. `mean`, of the normalisation, is the colour of the padding. Labels become uint8.
    Draws from torch's global generator.
    """

    def __init__(self, recipe: Recipe, classes: ClassSet, mean: RGB) -> None:
        augment, crop = recipe.data.augment, recipe.inference.crop
        short_side = recipe.inference.short_side
        visible = visible_classes(augment.crop_rule, classes, recipe.train.setting)
        self.steps = v2.Compose(
            [
                RandomScale(short_side, augment.long_side, augment.scale, augment.nearest_rule),
                RandomClassCrop(crop, visible),
                v2.RandomHorizontalFlip(augment.flip),
                *([PhotometricDistortion()] if augment.photometric else []),
                PadTo(crop, mean),
            ]
        )

    def __call__(self, sample: Sample) -> Sample:
        image, labels = self.steps(
            tv_tensors.Image(sample.image), tv_tensors.Mask(sample.labels.to(torch.uint8))
        )
        return replace(
            sample,
            image=image.as_subclass(Tensor).contiguous(),
            labels=labels.as_subclass(Tensor).contiguous(),
        )


def prepare(images: Tensor, inference: InferenceSettings, normalisation: Normalisation) -> Tensor:
    """Pictures (B, 3, H0, W0) uint8 as the network sees them in inference (B, 3, H, W)."""
    size = scaled_size(images.shape[-2:], inference.short_side, inference.long_side)
    return normalise(resize_bilinear(images, size), normalisation.mean, normalisation.std)
