"""Polygons as labels, with Pillow and numpy alone: the readers beside this file use it, too."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

FINE = 8
NONE = 255


def painted(
    polygons: list[tuple[int, list[tuple[float, float]]]], size: tuple[int, int]
) -> np.ndarray:
    """Labels (H, W) of polygons (label, corners) in pixels, large ones first; 255 elsewhere. Drawn
    enlarged and read at the centres of pixels, which no outline passes."""
    image = Image.new("L", (FINE * size[1], FINE * size[0]), NONE)
    draw = ImageDraw.Draw(image)

    def extent(polygon: tuple[int, list[tuple[float, float]]]) -> float:
        x, y = zip(*polygon[1], strict=True)
        return (max(x) - min(x)) * (max(y) - min(y))

    for label, corners in sorted(polygons, key=extent, reverse=True):
        draw.polygon([(FINE * x, FINE * y) for x, y in corners], fill=label)
    return np.asarray(image)[FINE // 2 :: FINE, FINE // 2 :: FINE]


def pairs(values: list[float]) -> list[tuple[float, float]]:
    """x, y, x, y, ... as corners."""
    return list(zip(values[::2], values[1::2], strict=True))
