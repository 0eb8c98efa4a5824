"""Drawn scenes to try the page on."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from cascade_clip.picturebook import SceneSettings, draw_scene

BOOK = 20_003
"""A book that neither training nor any evaluation reads."""
PAGES = (8, 19, 2, 13, 1, 12)
SIZE = (432, 576)
"""(height, width) in pixels."""
_CROWD = SceneSettings(things=(3, 4), thing_size=(0.4, 0.65), stuff=(2, 3))


def draw_examples(folder: Path) -> list[tuple[Path, str]]:
    """Draws scenes into `folder`: the file of each and the names of what is in it, with commas."""
    examples = []
    for page in PAGES:
        scene = draw_scene(BOOK, page, SIZE, _CROWD)
        path = folder / f"scene-{page}.png"
        Image.fromarray(scene.image).save(path)
        names = dict.fromkeys(item.name for item in scene.items)
        examples.append((path, ", ".join(names)))
    return examples
