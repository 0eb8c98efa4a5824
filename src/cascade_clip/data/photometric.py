"""Photometric distortion: brightness, contrast, saturation and hue at random.

The formulas are those of SSD (arXiv 1512.02325) as mmsegmentation applies them: each of the four is
changed with probability 1/2, contrast before or after the two others. Unlike there, values are
rounded to grey levels once, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

BRIGHTNESS = 32.0
"""Largest change of brightness, in grey levels."""
FACTORS = (0.5, 1.5)
"""Range of the factors of contrast and saturation."""
HUE = 18
"""Largest change of hue, in steps of 2 degrees (OpenCV counts hue from 0 to 180)."""
ROWS = 32
"""Rows worked on together: few enough to stay in a processor's cache."""

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Distortion:
    """What is done to one picture; the defaults do nothing."""

    brightness: float = 0.0
    """Added to all values, in grey levels."""
    contrast: float = 1.0
    """Factor on all values."""
    contrast_first: bool = True
    """Contrast changes before saturation and hue, not after them."""
    saturation: float = 1.0
    """Factor on saturation in HSV."""
    hue: int = 0
    """Added to hue in HSV, in steps of 2 degrees."""

    @classmethod
    def draw(cls) -> Distortion:
        """A random one, from torch's global generator."""
        return cls(
            brightness=_uniform(-BRIGHTNESS, BRIGHTNESS) if _coin() else 0.0,
            contrast_first=_coin(),
            contrast=_uniform(*FACTORS) if _coin() else 1.0,
            saturation=_uniform(*FACTORS) if _coin() else 1.0,
            hue=int(torch.randint(-HUE, HUE, ())) if _coin() else 0,
        )


class PhotometricDistortion(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """A random `Distortion` of pictures (3, H, W) uint8; labels stay."""

    _transformed_types = (tv_tensors.Image,)

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"distortion": Distortion.draw()}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        distorted = distort(inpt.as_subclass(Tensor), params["distortion"])
        return tv_tensors.wrap(distorted, like=inpt)


def distort(image: Tensor, distortion: Distortion) -> Tensor:
    """A picture (3, H, W) uint8 with another brightness, contrast, saturation and hue."""
    if distortion == Distortion(contrast_first=distortion.contrast_first):
        return image
    source = image.numpy()
    result = np.empty(source.shape, np.uint8)
    for top in range(0, source.shape[1], ROWS):
        rows = np.s_[:, top : top + ROWS]
        pixels = source[rows].astype(np.float32, order="C")  # (3, rows, W)
        _distort(pixels, distortion)
        pixels += 0.5  # becoming bytes cuts fractions off
        result[rows] = pixels
    return torch.from_numpy(result)


def _distort(pixels: Plane, distortion: Distortion) -> None:
    """In place, as all steps: new arrays would take as long as the arithmetic."""
    if distortion.brightness:
        pixels += distortion.brightness
        np.clip(pixels, 0, 255, out=pixels)
    if distortion.contrast_first:
        _change_contrast(pixels, distortion.contrast)
    if distortion.saturation != 1 or distortion.hue:
        _change_saturation_and_hue(pixels, distortion.saturation, distortion.hue / 30)
    if not distortion.contrast_first:
        _change_contrast(pixels, distortion.contrast)


def _change_contrast(pixels: Plane, factor: float) -> None:
    if factor != 1:
        pixels *= factor
        np.minimum(pixels, 255, out=pixels)


def _change_saturation_and_hue(pixels: Plane, saturation: float, hue: float) -> None:
    """RGB (3, H, W) through HSV and back; `hue` is counted in sixths of the circle.

    HSV's value is the largest channel, and what a channel lacks to it depends on chroma (largest
    minus smallest channel) and hue alone. So neither HSV's divisions nor its six cases are needed.
    """
    value = pixels.max(axis=0)  # (H, W)
    chroma = value - pixels.min(axis=0)
    lack = np.subtract(value, pixels, out=pixels)  # (3, H, W)
    if saturation != 1:
        factor = _saturation_factor(value, chroma, saturation)
        lack *= factor
        chroma *= factor
    if hue:
        _rotate(lack, chroma, hue)
    np.subtract(value, lack, out=pixels)


def _saturation_factor(value: Plane, chroma: Plane, saturation: float) -> Plane | np.float32:
    """Factor on chroma: saturation is chroma / value, and at most 1."""
    if saturation < 1:
        return np.float32(saturation)
    return np.minimum(value / np.maximum(chroma, 0.001), saturation)


def _rotate(lack: Plane, chroma: Plane, hue: float) -> None:
    """Turns the hue, given what the channels (3, H, W) lack to the largest one.

    All angles are in sixths of the circle times chroma. A channel lacks nothing up to 1 from its
    own hue (red 0, green 2, blue 4), all of chroma from 2 on, and a linear share between.
    """
    red, green, blue = lack
    twice = 2 * chroma
    # From red: 2 + red - green - blue, negative where green lacks more than blue.
    angle = twice + red
    angle -= green
    angle -= blue
    np.copysign(angle, blue - green, out=angle)
    angle += hue * chroma
    red[:] = angle
    np.subtract(angle, twice, out=green)
    np.add(angle, twice, out=blue)
    np.abs(lack, out=lack)
    lack -= 3 * chroma
    np.abs(lack, out=lack)  # 3 - the shorter way round
    np.subtract(twice, lack, out=lack)
    np.maximum(lack, 0, out=lack)
    np.minimum(lack, chroma, out=lack)


def _coin() -> bool:
    return bool(torch.rand(()) < 0.5)


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()
