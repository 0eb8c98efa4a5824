"""Draws the pictures of the README with the embedded model: `python scripts/readme_pictures.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from cascade_clip import Segmenter
from cascade_clip.picturebook import CLASSES, draw_scene

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIDE = 288
BOOK = 20_003
"""A book that neither training nor any evaluation reads."""
PAGES = range(12)


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter.from_pretrained("picturebook")
    scenes = [draw_scene(BOOK, page, SIDE).image for page in PAGES]
    masks = [
        np.asarray(segmenter(scene, CLASSES).overlay(opacity=0.75, legend=False))
        for scene in scenes
    ]
    rows = [np.concatenate(row, axis=1) for row in (scenes[:6], masks[:6], scenes[6:], masks[6:])]
    Image.fromarray(np.concatenate(rows)).save(IMAGES / "picturebook.jpg", quality=88)
    example = segmenter(
        Path(__file__).parents[1] / "examples" / "scene.png", "cat, house, grass, sky"
    )
    example.save(IMAGES / "scene-masks.png")


if __name__ == "__main__":
    main()
