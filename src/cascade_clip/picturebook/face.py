"""The little face that several things wear."""

import numpy as np

from cascade_clip.picturebook.canvas import Sketch
from cascade_clip.picturebook.geometry import arc, disc, stroke
from cascade_clip.picturebook.palette import BLUSH, INK, Colour


def draw_face(
    sketch: Sketch, rng: np.random.Generator, x: float, y: float, width: float, ink: Colour = INK
) -> None:
    """Eyes, cheeks and a smile around (x, y); ``width`` from cheek to cheek."""
    w = width / 2
    sketch.mark(BLUSH, *(disc(x + s * 0.86 * w, y + 0.32 * w, 0.2 * w, 0.15 * w) for s in (-1, 1)))
    mood = rng.random()
    if mood < 0.25:
        lids = (arc(x + s * 0.5 * w, y - 0.05 * w, 0.17 * w, 0.17 * w, 195, 345) for s in (-1, 1))
        sketch.mark(ink, *(stroke(lid, 0.11 * w) for lid in lids))
    else:
        sketch.mark(ink, *(disc(x + s * 0.5 * w, y - 0.08 * w, 0.15 * w, 0.2 * w) for s in (-1, 1)))
        glint = (disc(x + s * 0.5 * w - 0.05 * w, y - 0.16 * w, 0.055 * w) for s in (-1, 1))
        sketch.mark((255, 255, 255), *glint)
    if mood > 0.85:
        sketch.mark(ink, disc(x, y + 0.34 * w, 0.15 * w, 0.18 * w))
        sketch.mark(BLUSH, disc(x, y + 0.42 * w, 0.09 * w, 0.08 * w))
    else:
        smile = arc(x, y + 0.12 * w, 0.3 * w, 0.32 * w, 20, 160)
        sketch.mark(ink, stroke(smile, 0.11 * w))
