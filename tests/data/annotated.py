"""A picture of 6 x 4 pixels with a square in it, and what is made of its annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cascade_clip.data.annotations.build import Built, Wishes, build_folder
from cascade_clip.data.annotations.formats import Indices, read_annotations

HEIGHT, WIDTH = 4, 6
SQUARE = [1, 1, 4, 1, 4, 3, 1, 3]
"""Corners of the square of columns 1 to 3 and rows 1 and 2."""


def picture(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10, 20, 30)).save(path)


def built(root: Path, source: str, wishes: dict[str, Any] | None = None, **indices: Any) -> Built:
    found = read_annotations(root / source, Indices(**indices))
    folder = root / source if (root / source).is_dir() else (root / source).parent
    return build_folder(found, Wishes(folder, **(wishes or {})), root / "new", 1, lambda *_: None)


def mask(root: Path, name: str = "a") -> np.ndarray:
    return np.asarray(Image.open(root / f"new/masks/{name}.png"))


def in_square(value: int, outside: int = 255) -> np.ndarray:
    expected = np.full((HEIGHT, WIDTH), outside)
    expected[1:3, 1:4] = value
    return expected
