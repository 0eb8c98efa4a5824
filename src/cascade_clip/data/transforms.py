"""From decoded pictures to what the network takes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from cascade_clip.config import RGB, DataSettings
from cascade_clip.data.dataset import Sample
from cascade_clip.training.targets import IGNORE


class TrainTransform:
    """Short side to `short_side`, a random `crop` x `crop` window, a random flip.

    Pictures smaller than the crop are padded at the right and at the bottom, with black and
    `IGNORE`. Bilinear without antialiasing for pictures, nearest for labels. Draws from torch's
    global generator.
    """

    def __init__(self, settings: DataSettings, flip: bool = True) -> None:
        self.short_side = settings.short_side
        self.crop = settings.crop
        self.fill = {tv_tensors.Image: 0, tv_tensors.Mask: IGNORE}
        self.window = v2.RandomCrop(settings.crop)
        self.flip = v2.RandomHorizontalFlip(0.5 if flip else 0.0)

    def __call__(self, sample: Sample) -> Sample:
        size = short_side_size(sample.image.shape[-2:], self.short_side)
        image = tv_tensors.Image(resize_bilinear(sample.image, size))
        mask = tv_tensors.Mask(F.resize(sample.labels[None], size, InterpolationMode.NEAREST)[0])
        height, width = size
        padding = [0, 0, max(0, self.crop - width), max(0, self.crop - height)]
        image, mask = v2.Pad(padding, fill=self.fill)(image, mask)
        image, mask = self.flip(self.window(image, mask))
        return Sample(image.as_subclass(Tensor), mask.as_subclass(Tensor), sample.name)


def short_side_size(size: tuple[int, int] | torch.Size, short_side: int) -> list[int]:
    """(height, width) scaled so that the shorter one is `short_side`, to the nearest pixel."""
    scale = short_side / min(size)
    return [int(side * scale + 0.5) for side in size]


def resize_bilinear(images: Tensor, size: list[int]) -> Tensor:
    """Images (..., 3, H, W) to `size`, bilinear without antialiasing (as OpenCV does)."""
    if list(images.shape[-2:]) == size:
        return images
    return F.resize(images, size, InterpolationMode.BILINEAR, antialias=False)


def normalise(images: Tensor, mean: RGB, std: RGB) -> Tensor:
    """RGB (..., 3, H, W) uint8 to float32 with `mean` and `std` of values in [0, 1]."""
    shape = (3, 1, 1)
    mean_values = torch.tensor(mean, device=images.device).view(shape)
    std_values = torch.tensor(std, device=images.device).view(shape)
    return (images.float() / 255 - mean_values) / std_values


def prepare(images: Tensor, settings: DataSettings) -> Tensor:
    """Pictures (B, 3, H0, W0) uint8 as the network sees them in inference (B, 3, H, W)."""
    size = short_side_size(images.shape[-2:], settings.short_side)
    return normalise(resize_bilinear(images, size), settings.mean, settings.std)
