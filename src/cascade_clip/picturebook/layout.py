"""Where stuff and things go, in units of the picture's short side; knows no pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cascade_clip.picturebook import shapes_life, shapes_made, shapes_nature, textures
from cascade_clip.picturebook.canvas import Drawing, Sketch
from cascade_clip.picturebook.geometry import Points, rotate
from cascade_clip.picturebook.palette import NAMED, WORN, Colour, jitter
from cascade_clip.picturebook.textures import Texture

DRAW_THING: dict[str, Callable[[np.random.Generator, Colour], Sketch]] = {
    "house": shapes_made.house,
    "tree": shapes_nature.tree,
    "car": shapes_made.car,
    "boat": shapes_made.boat,
    "fish": shapes_life.fish,
    "cat": shapes_life.cat,
    "flower": shapes_nature.flower,
    "sun": shapes_nature.sun,
    "star": shapes_nature.star,
    "mushroom": shapes_nature.mushroom,
    "umbrella": shapes_made.umbrella,
    "balloon": shapes_made.balloon,
    "snowman": shapes_life.snowman,
    "apple": shapes_nature.apple,
    "heart": shapes_life.heart,
    "key": shapes_made.key,
}
DRAW_STUFF: dict[str, Callable[[np.random.Generator, float, float], Texture]] = {
    "grass": textures.grass,
    "water": textures.water,
    "sand": textures.sand,
    "sky": textures.sky,
    "brick": textures.brick,
    "wood": textures.wood,
}
_TILT = {"key": 3.14, "star": 0.5, "heart": 0.4, "fish": 0.4, "apple": 0.25, "umbrella": 0.3}
_THIN = {"key": 1.12, "umbrella": 1.08, "fish": 1.08}


@dataclass(frozen=True)
class Region:
    """Stuff inside ``border`` (the whole picture where it is None)."""

    name: str
    texture: Texture
    border: Points | None


@dataclass(frozen=True)
class Placed:
    """A thing at its place, and how dark its drop shadow is (0..1)."""

    name: str
    colour: str
    drawing: Drawing
    shadow: float


Box = tuple[float, float, float, float]


def place_stuff(
    rng: np.random.Generator, names: Sequence[str], count: int, width: float, height: float
) -> list[Region]:
    """``count`` regions of different stuff, back to front; sky likes to be at the top."""
    chosen = [names[i] for i in rng.permutation(len(names))[:count]]
    if "sky" in chosen and rng.random() < 0.75:
        chosen.remove("sky")
        chosen.insert(0, "sky")
    regions: list[Region] = []
    level = 0.0
    sideways = rng.random() < 0.22
    for i, name in enumerate(chosen):
        border = None
        if i:
            level += (1.0 - level) * rng.uniform(0.34, 0.66) * (1.0 if len(chosen) < 3 else 0.8)
            long, wide = (height, width) if sideways else (width, height)
            border = _edge(rng, level, long, wide)
            if sideways:
                border = border[:, ::-1]
        regions.append(Region(name, DRAW_STUFF[name](rng, width, height), border))
    return regions


def _edge(rng: np.random.Generator, level: float, long: float, wide: float) -> Points:
    """The part below a straight, tilted or wavy line at ``level`` (0..1) of the way down."""
    x = np.linspace(-0.02, long + 0.02, 33)
    kind = rng.random()
    y = np.full_like(x, level * wide) + (x - long / 2) * rng.uniform(-0.12, 0.12)
    if kind < 0.45:
        waves, phase = rng.uniform(0.6, 1.6), rng.uniform(0.0, 6.28)
        y += rng.uniform(0.02, 0.07) * np.sin(x / long * waves * 2 * np.pi + phase)
    elif kind < 0.65:
        y += (x - long / 2) * rng.uniform(-0.35, 0.35)
    line = np.stack([x, y], axis=1)
    return np.concatenate([line, [(x[-1], wide + 0.02), (x[0], wide + 0.02)]])


def place_things(
    rng: np.random.Generator,
    names: Sequence[str],
    count: int,
    sizes: tuple[float, float],
    max_overlap: float,
    width: float,
    height: float,
) -> list[Placed]:
    """Up to ``count`` things, back to front; one that finds no place is left out."""
    placed: list[Placed] = []
    taken: list[Box] = []
    shadow = float(rng.uniform(0.12, 0.3))
    crowd = 1.0 - 0.1 * (count - 1)
    for _ in range(count):
        name = names[int(rng.integers(len(names)))]
        if any(name == other.name for other in placed) and rng.random() < 0.8:
            name = names[int(rng.integers(len(names)))]
        colour = WORN[name][int(rng.integers(len(WORN[name])))]
        drawing = _posed(rng, name, jitter(rng, NAMED[colour]))
        low, high = sizes
        size = rng.uniform(low, low + (high - low) * crowd) * _THIN.get(name, 1.0)
        spot = _find_spot(rng, drawing, min(size, 0.95), taken, max_overlap, width, height)
        if spot is None:
            continue
        scale, shift, box = spot
        taken.append(box)
        placed.append(Placed(name, colour, drawing.moved(drawing.points * scale + shift), shadow))
    return placed


def _posed(rng: np.random.Generator, name: str, colour: Colour) -> Drawing:
    """Drawn, perhaps mirrored, turned, and centred in a box whose longer side is 1."""
    drawing = DRAW_THING[name](rng, colour).drawing()
    angle = rng.uniform(-1.0, 1.0) * _TILT.get(name, 0.14)
    flip = np.array((-1.0 if rng.random() < 0.5 else 1.0, 1.0))
    turned = drawing.moved(rotate(drawing.points * flip, angle))
    outline = turned.silhouette()
    low, high = outline.min(axis=0), outline.max(axis=0)
    return turned.moved((turned.points - (low + high) / 2) / float((high - low).max()))


def _find_spot(
    rng: np.random.Generator,
    drawing: Drawing,
    size: float,
    taken: Sequence[Box],
    max_overlap: float,
    width: float,
    height: float,
) -> tuple[float, Points, Box] | None:
    """Scale, shift and box of a place where no box is covered by more than ``max_overlap``."""
    half_x, half_y = (np.abs(drawing.silhouette()).max(axis=0) * size).tolist()
    for attempt in range(24):
        shrink = 1.0 if attempt < 12 else 0.8
        hx, hy = half_x * shrink, half_y * shrink
        x = rng.uniform(min(0.88 * hx, width / 2), max(width - 0.88 * hx, width / 2))
        y = rng.uniform(min(0.88 * hy, height / 2), max(height - 0.88 * hy, height / 2))
        box = (x - hx, y - hy, x + hx, y + hy)
        if all(_overlap(box, other) <= max_overlap for other in taken):
            return size * shrink, np.array((x, y)), box
    return None


def _overlap(a: Box, b: Box) -> float:
    """Shared area over the smaller area."""
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    if across <= 0.0 or down <= 0.0:
        return 0.0
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return across * down / smaller
