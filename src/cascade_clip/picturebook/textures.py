"""Stuff as strokes: grass, water, sand, sky, brick, wood.

A texture covers the box (0, 0)-(width, height), in units of the picture's short side, so it looks
the same at every resolution.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cascade_clip.picturebook.geometry import Points, curve, disc, rotate, stroke
from cascade_clip.picturebook.palette import Colour, darker, jitter, lighter, mix

Strokes = list[tuple[Colour, Points]]


@dataclass(frozen=True)
class Texture:
    """Colours at the top and the bottom, and strokes over them, back to front."""

    top: Colour
    bottom: Colour
    strokes: Strokes


def _one_of(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return jitter(rng, colours[int(rng.integers(len(colours)))])


def _scatter(rng: np.random.Generator, width: float, height: float, gap: float) -> Points:
    """Points on a jittered grid, row by row from the top; (N, 2)."""
    across, down = int(width / gap) + 2, int(height / gap) + 2
    x, y = np.meshgrid(np.arange(across) * gap, np.arange(down) * gap)
    x[1::2] -= gap / 2
    grid = np.stack([x.ravel(), y.ravel()], axis=1)
    return grid + (rng.random(grid.shape) - 0.5) * 0.7 * gap


@lru_cache(maxsize=16)
def _brush(count: int) -> Points:
    """Half thickness (N, 2), downwards, of a brush line that thins out at both ends."""
    swell = np.sin(np.linspace(0.12, np.pi - 0.12, count)) ** 0.6
    return np.stack([np.zeros(count), 0.5 * swell], axis=1)


def _ribbon(line: Points, width: float) -> Points:
    """A brush line along a level curve: cheaper than a stroke, as it needs no normals."""
    half = _brush(len(line)) * width
    return np.concatenate([line - half, (line + half)[::-1]])


def grass(rng: np.random.Generator, width: float, height: float) -> Texture:
    """Tufts of blades in two greens, and now and then a daisy."""
    base = _one_of(rng, ((134, 190, 84), (108, 176, 96), (164, 198, 92), (90, 160, 88)))
    tones = (darker(base, 0.2), lighter(base, 0.28), darker(base, 0.3))
    gap = 0.12 * rng.uniform(0.8, 1.4)
    tall = gap * rng.uniform(0.55, 0.8)
    tuft = np.array(
        [(-0.55, 0.0), (-0.75, -0.75), (-0.2, -0.25), (0.05, -1.1), (0.25, -0.25), (0.75, -0.85),
         (0.55, 0.0)]
    ) * (0.62 * tall, tall)  # fmt: skip
    roots = _scatter(rng, width, height, gap)
    sizes = rng.uniform(0.7, 1.2, len(roots))
    shapes = roots[:, None] + tuft * sizes[:, None, None]  # (N, 7, 2)
    which = rng.integers(0, 3, len(roots)).tolist()
    strokes: Strokes = [(tones[w], shape) for w, shape in zip(which, shapes, strict=True)]
    if rng.random() < 0.4:
        petal = lighter(_one_of(rng, ((255, 255, 250), (250, 200, 90), (240, 160, 190))), 0.2)
        for x, y in roots[rng.integers(0, len(roots), 5)].tolist():
            strokes.append((petal, disc(x, y - 0.03, 0.26 * tall)))
            strokes.append(((244, 190, 70), disc(x, y - 0.03, 0.1 * tall)))
    return Texture(base, base, strokes)


def water(rng: np.random.Generator, width: float, height: float) -> Texture:
    """Bands of waves with small white crests."""
    base = _one_of(rng, ((74, 156, 204), (66, 138, 196), (84, 178, 190), (60, 120, 178)))
    rows = rng.uniform(6.0, 11.0)
    step = 1.0 / rows
    length = step * rng.uniform(1.8, 2.8)
    swell = step * rng.uniform(0.16, 0.26)
    x = np.arange(0.0, width + length / 8, length / 8)
    tones = (base, lighter(base, 0.16), darker(base, 0.1), lighter(base, 0.08))
    crest = lighter(base, 0.6)
    strokes: Strokes = []
    for row in range(int(height / step) + 2):
        phase = rng.uniform(0.0, 6.28)
        y = (row - 0.5) * step + swell * np.sin(x * (2 * np.pi / length) + phase)
        line = np.stack([x, y], axis=1)
        rest = np.array([(x[-1], (row + 1) * step), (0.0, (row + 1) * step)])
        strokes.append((tones[row % 4], np.concatenate([line, rest])))
        for start in rng.integers(0, max(1, len(x) - 6), 2).tolist():
            piece = line[start : start + 6] + np.array((0.0, 0.24 * step))
            strokes.append((crest, _ribbon(piece, 0.2 * step)))
    return Texture(darker(base, 0.1), darker(base, 0.1), strokes)


def sand(rng: np.random.Generator, width: float, height: float) -> Texture:
    """Ripples, speckles and a few pebbles."""
    base = _one_of(rng, ((240, 214, 156), (232, 200, 140), (244, 222, 178), (226, 190, 132)))
    strokes: Strokes = []
    tilt = rng.uniform(-0.15, 0.15)
    ripple = (darker(base, 0.13), lighter(base, 0.35))
    bow = curve([(-1.0, 0.0), (-0.5, -0.11), (0.0, 0.0), (0.5, 0.1), (1.0, 0.0)], 4)
    ripples = [rotate(stroke(bow, w, 0.3), tilt) for w in (0.29, 0.23, 0.19)]
    gap = 0.22 * rng.uniform(0.8, 1.3)
    for i, (x, y) in enumerate(_scatter(rng, width, height, gap).tolist()):
        reach = gap * (0.34 + 0.1 * (i % 3))
        strokes.append((ripple[i % 2], ripples[i % 3] * reach + (x, y)))
    grains = _scatter(rng, width, height, 0.085 * rng.uniform(0.85, 1.2))
    speck = np.array([(-1.0, -0.3), (0.2, -1.0), (1.0, 0.3), (-0.2, 1.0)])
    radius = rng.uniform(0.006, 0.012, len(grains))
    shapes = grains[:, None] + speck * radius[:, None, None]  # (N, 4, 2)
    tones = (darker(base, 0.28), darker(base, 0.18), lighter(base, 0.6), (188, 140, 100))
    which = rng.integers(0, 4, len(grains)).tolist()
    strokes += [(tones[w], shape) for w, shape in zip(which, shapes, strict=True)]
    for x, y in (rng.random((3, 2)) * (width, height)).tolist():
        pebble = _one_of(rng, ((196, 150, 120), (250, 240, 226), (206, 178, 168)))
        strokes.append((darker(pebble, 0.3), disc(x, y + 0.006, 0.026, 0.02)))
        strokes.append((pebble, disc(x - 0.002, y, 0.023, 0.017)))
    return Texture(base, base, strokes)


def sky(rng: np.random.Generator, width: float, height: float) -> Texture:
    """A gradient with clouds; mostly blue, sometimes dawn or dusk."""
    tops: tuple[Colour, ...] = ((112, 184, 236), (134, 204, 240), (96, 160, 226), (150, 150, 214))
    top = _one_of(rng, tops)
    bottom = _one_of(rng, ((206, 236, 250), (222, 242, 248), (250, 224, 206), (248, 214, 222)))
    strokes: Strokes = []
    gap = rng.uniform(0.34, 0.5)
    for x, y in _scatter(rng, width, height, gap).tolist():
        if rng.random() < 0.35:
            continue
        r = 0.075 * rng.uniform(0.7, 1.3)
        puffs = [(-1.5, 0.1, 0.75), (-0.6, -0.35, 1.0), (0.55, -0.2, 0.9), (1.45, 0.12, 0.7)]
        under = mix(top, (255, 255, 255), 0.55)
        for tone, drop in ((under, 0.28), ((255, 255, 255), 0.0)):
            strokes += [(tone, disc(x + a * r, y + (b + drop) * r, s * r)) for a, b, s in puffs]
            strokes.append((tone, disc(x, y + (0.42 + drop) * r, 2.0 * r, 0.5 * r)))
    return Texture(top, bottom, strokes)


def brick(rng: np.random.Generator, width: float, height: float) -> Texture:
    """Courses of bricks, each a little different, in pale mortar."""
    base = _one_of(rng, ((196, 98, 78), (178, 84, 72), (206, 126, 92), (162, 122, 118)))
    mortar = lighter(mix(base, (220, 210, 200), 0.6), 0.2)
    rows = rng.uniform(6.0, 10.0)
    step = 1.0 / rows
    length = step * rng.uniform(1.9, 2.4)
    joint = step * rng.uniform(0.1, 0.16)
    shift = rng.uniform(0.0, length)
    down, across = int(height / step) + 2, int(width / length) + 3
    row, column = np.meshgrid(np.arange(down), np.arange(across), indexing="ij")
    x = (column - 1 - 0.5 * (row % 2)) * length + shift
    y = (row - 0.5) * step
    corner = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
    face = np.array([(0.0, 0.0), (length - joint, 0.0), (length - joint, step - joint),
                     (0.0, step - joint)])  # fmt: skip
    edge = np.array([(0.0, 0.0), (length - joint, 0.0), (length - joint, 0.16 * step),
                     (0.16 * step, 0.16 * step), (0.12 * step, step - joint),
                     (0.0, step - joint)])  # fmt: skip
    tones = [darker(base, 0.14), base, lighter(base, 0.1), jitter(rng, base, 2.0)]
    which = rng.integers(0, 4, len(corner)).tolist()
    strokes: Strokes = []
    lit = [lighter(tone, 0.16) for tone in tones]
    for w, brick_face, brick_edge in zip(which, corner + face, corner + edge, strict=True):
        strokes += [(tones[w], brick_face), (lit[w], brick_edge)]
    return Texture(mortar, mortar, strokes)


def wood(rng: np.random.Generator, width: float, height: float) -> Texture:
    """Planks with grain and knots, lying or standing."""
    base = _one_of(rng, ((196, 146, 96), (170, 118, 76), (214, 172, 122), (150, 104, 74)))
    standing = rng.random() < 0.5
    long, wide = (height, width) if standing else (width, height)
    step = rng.uniform(0.15, 0.26)
    start = rng.uniform(-step, 0.0)
    strokes: Strokes = []
    tones = (base, lighter(base, 0.12), darker(base, 0.1), mix(base, (206, 160, 100), 0.3))
    gap = darker(base, 0.5)
    t = np.linspace(0.0, long, 12)
    for plank in range(int((wide - start) / step) + 1):
        low = start + plank * step
        tone = tones[int(rng.integers(4))]
        board = np.array([(0.0, low), (long, low), (long, low + step), (0.0, low + step)])
        strokes.append((tone, board))
        grain = darker(tone, 0.2)
        for share in (0.24, 0.5, 0.76):
            phase, wave = rng.uniform(0.0, 6.28), rng.uniform(5.0, 9.0)
            line = np.empty((len(t), 2))
            line[:, 0] = t
            line[:, 1] = low + step * (share + 0.07 * np.sin(wave * t + phase))
            part = slice(int(rng.integers(0, 4)), int(rng.integers(8, 13)))
            strokes.append((grain, _ribbon(line[part], 0.07 * step)))
        if rng.random() < 0.6:
            x = rng.uniform(0.1, 0.9) * long
            for share, colour in ((0.26, grain), (0.2, tone), (0.12, darker(tone, 0.32))):
                strokes.append((colour, disc(x, low + step / 2, 1.5 * share * step, share * step)))
        seam = np.array([(0.0, low - 0.006), (long, low - 0.006), (long, low + 0.006),
                         (0.0, low + 0.006)])  # fmt: skip
        strokes.append((gap, seam))
    if standing:
        strokes = [(fill, points[:, ::-1]) for fill, points in strokes]
    return Texture(base, base, strokes)


def light_field(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Brightness (H, W, 1) around 1: brighter towards a corner, a little darker at the rim."""
    angle = rng.uniform(0.0, 2 * np.pi)
    strength = rng.uniform(0.02, 0.09)
    x = ((np.arange(width) + 0.5) / width * 2 - 1).astype(np.float32)
    y = ((np.arange(height) + 0.5) / height * 2 - 1).astype(np.float32)[:, None]
    slope = strength * (np.cos(angle) * x + np.sin(angle) * y)
    field = (rng.uniform(0.99, 1.05) + slope) - 0.025 * (x * x + y * y)  # (H, W)
    bright: NDArray[np.float32] = field.astype(np.float32)[:, :, None]  # (H, W, 1)
    return bright
