"""Augmentation as its formulas read: one picture, one step after the other, in float64."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]


def train_transform(
    image: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    short_side: int,
    long_side: int,
    crop: int,
    scale: tuple[float, float],
    visible: NDArray[np.int64],
    fill: tuple[int, int, int],
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(H, W, 3), (H, W) -> (crop, crop, 3), (crop, crop); all but the photometric distortion."""
    u = scale[0] + (scale[1] - scale[0]) * torch.rand(()).item()
    height, width = labels.shape
    factor = min(int(u * short_side) / min(height, width), int(u * long_side) / max(height, width))
    size = int(height * factor + 0.5), int(width * factor + 0.5)
    image, labels = to_bytes(resize_bilinear(image, size)), resize_nearest(labels, size)
    for _ in range(11):
        top = int(torch.randint(max(0, size[0] - crop) + 1, ()))
        left = int(torch.randint(max(0, size[1] - crop) + 1, ()))
        seen = visible[labels[top : top + crop, left : left + crop]]
        _, counts = np.unique(seen[seen != 255], return_counts=True)
        if len(counts) > 1 and counts.max() / counts.sum() < 0.75:
            break
        if max(size) <= crop:
            break  # there is one place only
    image = image[top : top + crop, left : left + crop]
    labels = labels[top : top + crop, left : left + crop]
    if torch.rand(1) < 0.5:
        image, labels = image[:, ::-1], labels[:, ::-1]
    height, width = labels.shape
    padded_image = np.tile(np.array(fill, np.uint8), (crop, crop, 1))
    padded_labels = np.full((crop, crop), 255)
    padded_image[:height, :width], padded_labels[:height, :width] = image, labels
    return padded_image, padded_labels


def resize_bilinear(image: NDArray[np.uint8], size: tuple[int, int]) -> Array:
    """(H, W, 3) -> (*size, 3): each pixel's centre lies somewhere between four old centres."""
    result = image.astype(np.float64)
    for axis, new in enumerate(size):
        old = result.shape[axis]
        place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        before = np.floor(place).astype(int)
        after = np.minimum(before + 1, old - 1)
        share = np.expand_dims(place - before, [1, 2] if axis == 0 else [0, 2])
        low, high = np.take(result, before, axis), np.take(result, after, axis)
        result = (1 - share) * low + share * high
    return result


def resize_nearest(labels: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
    """(H, W) -> `size`, one pixel at a time."""
    old_height, old_width = labels.shape
    result = np.empty(size, np.int64)
    for y in range(size[0]):
        for x in range(size[1]):
            result[y, x] = labels[y * old_height // size[0], x * old_width // size[1]]
    return result


def distort(
    image: NDArray[np.uint8],
    brightness: float,
    contrast: float,
    contrast_first: bool,
    saturation: float,
    hue: float,
) -> NDArray[np.uint8]:
    """(H, W, 3) with other colours; `hue` in degrees."""
    pixels = np.clip(image + brightness, 0, 255)
    if contrast_first:
        pixels = np.clip(pixels * contrast, 0, 255)
    h, s, v = to_hsv(pixels)
    pixels = to_rgb((h + hue) % 360, np.clip(s * saturation, 0, 1), v)
    if not contrast_first:
        pixels = np.clip(pixels * contrast, 0, 255)
    return to_bytes(pixels)


def to_hsv(pixels: Array) -> tuple[Array, Array, Array]:
    """RGB (H, W, 3) to hue in degrees, saturation in 0..1, value; (H, W) each. Six cases."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    value = pixels.max(-1)
    chroma = value - pixels.min(-1)
    divisor = np.where(chroma == 0, 1, chroma)
    hue = np.where(
        value == red,
        (green - blue) / divisor % 6,
        np.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    return 60 * hue, chroma / np.where(value == 0, 1, value), value


def to_rgb(hue: Array, saturation: Array, value: Array) -> Array:
    """Back from `to_hsv`: (H, W) each to (H, W, 3)."""
    channels = []
    for number in (5, 3, 1):
        k = (number + hue / 60) % 6
        channels.append(value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1))
    return np.stack(channels, -1)


def to_bytes(pixels: Array) -> NDArray[np.uint8]:
    return np.floor(pixels + 0.5).astype(np.uint8)
