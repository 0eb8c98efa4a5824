"""Things that people make: house, car, boat, umbrella, balloon, key."""

import numpy as np

from cascade_clip.picturebook.canvas import Sketch
from cascade_clip.picturebook.geometry import (
    Points,
    arc,
    box,
    curve,
    disc,
    rounded,
    stroke,
    towards,
)
from cascade_clip.picturebook.palette import (
    CREAM,
    NAMED,
    TRUNK,
    Colour,
    darker,
    jitter,
    lighter,
    mix,
    pick,
)

GLASS: Colour = (176, 222, 240)


def _window(sketch: Sketch, x: float, y: float, half: float, frame: Colour, lit: Colour) -> None:
    sketch.mark(frame, box(x - half - 0.045, y - half - 0.045, x + half + 0.045, y + half + 0.045))
    sketch.mark(lit, box(x - half, y - half, x + half, y + half))
    sketch.mark(lighter(lit, 0.6), box(x - half, y - half, x - 0.1 * half, y - 0.1 * half))
    sketch.mark(
        frame,
        box(x - 0.022, y - half, x + 0.022, y + half),
        box(x - half, y - 0.022, x + half, y + 0.022),
    )


def house(rng: np.random.Generator, colour: Colour) -> Sketch:
    """Walls, a steep roof, a door and windows."""
    sketch = Sketch()
    wide = rng.uniform(0.68, 0.82)
    eave = rng.uniform(-0.22, -0.08)
    tiles = pick(rng, "red", "brown", "orange", "purple", "gray")
    if abs(tiles[0] - colour[0]) + abs(tiles[1] - colour[1]) + abs(tiles[2] - colour[2]) < 120:
        tiles = pick(rng, "brown", "purple")
    stack = pick(rng, "brown", "gray")
    sketch.solid(stack, box(0.3, -0.9, 0.54, -0.3))
    sketch.mark(lighter(stack, 0.3), box(0.3, -0.9, 0.54, -0.82))
    walls = box(-wide, eave - 0.1, wide, 0.95, 0.04)
    sketch.solid(colour, walls)
    sketch.mark(darker(colour, 0.12), box(wide - 0.16, eave, wide, 0.94))
    sketch.mark(darker(colour, 0.22), box(-wide + 0.01, 0.84, wide - 0.01, 0.93))
    flat = 0.0 if rng.random() < 0.55 else 0.28
    over = wide + 0.2
    roof = rounded([(-flat - 0.02, -0.98), (flat + 0.02, -0.98), (over, eave), (-over, eave)], 0.09)
    frame = lighter(colour, 0.75)
    lit = GLASS if rng.random() < 0.6 else (255, 226, 130)
    door = pick(rng, "brown", "green", "blue", "red")
    if rng.random() < 0.5:
        side = -0.34
        _window(sketch, 0.32, 0.3, 0.17, frame, lit)
    else:
        side = 0.0
        _window(sketch, -0.44, 0.3, 0.125, frame, lit)
        _window(sketch, 0.44, 0.3, 0.125, frame, lit)
    sketch.mark(frame, box(side - 0.215, 0.255, side + 0.215, 0.94, 0.08))
    sketch.mark(door, box(side - 0.17, 0.3, side + 0.17, 0.94, 0.07))
    sketch.mark(lighter(door, 0.25), box(side - 0.1, 0.37, side + 0.1, 0.58, 0.03))
    sketch.mark(NAMED["yellow"], disc(side + 0.1, 0.68, 0.035))
    sketch.solid(tiles, roof)
    sketch.mark(darker(tiles, 0.16), towards(roof, 0.0, eave, 0.86))
    sketch.mark(tiles, towards(roof, -0.08, -0.6, 0.8))
    attic = (eave - 0.98) / 2 + 0.08
    sketch.mark(frame, disc(0.0, attic, 0.18))
    sketch.mark(lit, disc(0.0, attic, 0.13))
    sketch.mark(frame, box(-0.02, attic - 0.13, 0.02, attic + 0.13))
    return sketch


def car(rng: np.random.Generator, colour: Colour) -> Sketch:
    """Drives to the right on two fat wheels."""
    sketch = Sketch()
    high = rng.uniform(-0.62, -0.5)
    rear = rng.uniform(-0.72, -0.55)
    cabin = rounded([(rear, -0.02), (rear + 0.16, high), (0.3, high), (0.6, -0.02)], 0.16)
    body = rounded([(-0.98, -0.1), (0.62, -0.1), (1.0, 0.06), (1.0, 0.42), (-0.98, 0.42)], 0.16)
    sketch.solid(colour, cabin, body)
    sketch.mark(darker(colour, 0.18), box(-0.95, 0.24, 0.97, 0.4, 0.08))
    sketch.mark(lighter(colour, 0.35), stroke([(-0.86, -0.01), (0.56, -0.01)], 0.055))
    pane = towards(cabin, -0.08, -0.22, 0.72)
    sketch.mark(GLASS, pane)
    shine = np.array([(-0.3, high + 0.13), (-0.12, high + 0.13), (-0.28, -0.12), (-0.46, -0.12)])
    sketch.mark(lighter(GLASS, 0.6), shine)
    sketch.mark(colour, box(-0.04, high + 0.06, 0.05, 0.0))
    sketch.mark(darker(colour, 0.35), stroke([(-0.16, 0.12), (-0.04, 0.12)], 0.05))
    sketch.mark((255, 236, 150), disc(0.9, 0.13, 0.075, 0.1))
    sketch.mark((200, 60, 60), box(-0.97, 0.06, -0.88, 0.2))
    sketch.solid((206, 206, 214), box(0.84, 0.32, 1.06, 0.44, 0.05), box(-1.06, 0.32, -0.84, 0.44))
    tyre = (70, 64, 78)
    hub = pick(rng, "white", "yellow", "gray")
    for x in (-0.54, 0.56):
        sketch.solid(tyre, disc(x, 0.42, 0.27))
        sketch.mark(hub, disc(x, 0.42, 0.15))
        sketch.mark(darker(hub, 0.3), disc(x, 0.42, 0.06))
    return sketch


def boat(rng: np.random.Generator, colour: Colour) -> Sketch:
    """A hull with a mast, one or two sails and a pennant."""
    sketch = Sketch()
    mast = rng.uniform(-0.12, 0.08)
    sketch.solid(TRUNK, box(mast - 0.05, -0.95, mast + 0.05, 0.45))
    flag = pick(rng, "red", "yellow", "orange")
    sketch.solid(flag, rounded([(mast, -1.05), (mast + 0.36, -0.94), (mast, -0.82)], 0.03))
    cloth = CREAM if rng.random() < 0.6 else lighter(pick(rng, "yellow", "pink", "orange"), 0.35)
    if sum(colour) > 640:
        cloth = lighter(pick(rng, "red", "orange", "yellow"), 0.2)
    right = rounded([(mast + 0.08, -0.74), (mast + 0.78, 0.24), (mast + 0.08, 0.24)], 0.08)
    sketch.solid(cloth, right, outline=darker(cloth, 0.5))
    sketch.mark(lighter(colour, 0.1), *_sail_stripe(mast + 0.1, mast + 0.69, -0.72, 0.22, 0.6))
    sketch.mark(darker(cloth, 0.14), *_sail_stripe(mast + 0.1, mast + 0.69, -0.72, 0.22, 0.88))
    if rng.random() < 0.7:
        left = rounded([(mast - 0.08, -0.6), (mast - 0.66, 0.24), (mast - 0.08, 0.24)], 0.08)
        sketch.solid(darker(cloth, 0.08), left, outline=darker(cloth, 0.5))
    hull = rounded(
        [(-0.98, 0.34), (0.98, 0.34), (0.76, 0.78), (0.56, 0.95), (-0.56, 0.95), (-0.76, 0.78)],
        0.12,
    )
    sketch.solid(colour, hull)
    sketch.mark(darker(colour, 0.2), towards(hull, 0.0, 0.9, 0.74))
    sketch.mark(colour, towards(hull, -0.05, 0.5, 0.72))
    trim = lighter(colour, 0.75) if sum(colour) < 640 else NAMED["blue"]
    sketch.mark(trim, box(-0.88, 0.39, 0.88, 0.47))
    for x in (-0.42, 0.0, 0.42):
        sketch.mark(trim, disc(x, 0.66, 0.095))
        sketch.mark(GLASS if trim != GLASS else CREAM, disc(x, 0.66, 0.06))
    return sketch


def _sail_stripe(x0: float, x1: float, top: float, low: float, at: float) -> tuple[Points, ...]:
    """A band across the triangular sail, ``at`` of the way down."""
    ends = []
    for share in (at, min(at + 0.14, 0.97)):
        y = top + (low - top) * share
        ends.append((y, x0 + (x1 - x0) * share * 0.97))
    (y0, a), (y1, b) = ends
    return (np.array([(x0, y0), (a, y0), (b, y1), (x0, y1)]),)


def umbrella(rng: np.random.Generator, colour: Colour) -> Sketch:
    """An open dome in two tones, a shaft and a crook."""
    sketch = Sketch()
    grip = jitter(rng, TRUNK)
    hook = np.concatenate([[(0.0, -0.8), (0.0, 0.7)], arc(-0.19, 0.72, 0.19, 0.22, 0, 180)[1:]])
    sketch.solid(grip, stroke(hook, 0.15))
    sketch.solid(grip, stroke([(0.0, -0.9), (0.0, -0.72)], 0.1))
    tall = rng.uniform(0.82, 0.96)
    dome = arc(0.0, 0.08, 0.98, tall, 180, 360)
    segments = int(rng.integers(2, 4)) * 2 - 1 if rng.random() < 0.6 else 4
    rib = np.linspace(0.98, -0.98, segments + 1)
    if segments > 2:
        rib = np.sin(rib / 0.98 * np.pi / 2) * 0.98
    hems = [
        arc((a + b) / 2, 0.08, abs(a - b) / 2, -0.14 * tall, 0, 180)[1:-1]
        for a, b in zip(rib[:-1].tolist(), rib[1:].tolist(), strict=True)
    ]
    ribs = [np.array([(x, 0.08)]) for x in rib[1:-1].tolist()]
    hem = [hems[0]]
    for knot, scallop in zip(ribs, hems[1:], strict=True):
        hem += [knot, scallop]
    sketch.solid(colour, np.concatenate([dome, *hem]))
    other = lighter(colour, 0.62) if rng.random() < 0.6 else mix(colour, CREAM, 0.9)
    panels = []
    for i in range(1 - segments % 2 if segments == 4 else 1, segments, 2):
        panels.append(_panel(rib[i], rib[i + 1], tall, hems[i]))
    sketch.mark(other, *panels)
    shine = stroke(arc(0.0, 0.08, 0.8, 0.8 * tall, 200, 232), 0.07)
    sketch.mark(lighter(colour, 0.7), shine)
    return sketch


def _panel(a: float, b: float, tall: float, hem: Points) -> Points:
    """One segment of the dome between the ribs that end at x = a and x = b."""
    up = np.linspace(0.0, np.pi / 2, 9)
    left = np.stack([b * np.cos(up), 0.08 - tall * np.sin(up)], axis=1)
    right = np.stack([a * np.cos(up), 0.08 - tall * np.sin(up)], axis=1)[::-1]
    return np.concatenate([left, right, hem])


def balloon(rng: np.random.Generator, colour: Colour) -> Sketch:
    """A hot-air balloon: striped envelope, ropes and a basket."""
    sketch = Sketch()
    wicker = jitter(rng, NAMED["brown"])
    for s in (-1, 1):
        sketch.solid(TRUNK, stroke([(s * 0.3, 0.3), (s * 0.17, 0.76)], 0.06))
    sketch.solid(wicker, box(-0.25, 0.68, 0.25, 1.0, 0.07))
    sketch.mark(lighter(wicker, 0.35), box(-0.25, 0.68, 0.25, 0.76, 0.03))
    weave = ([(x, 0.8), (x, 0.95)] for x in (-0.14, 0.0, 0.14))
    sketch.mark(darker(wicker, 0.3), *(stroke(line, 0.035) for line in weave))
    slim = rng.uniform(0.72, 0.8)
    down = np.linspace(-np.pi / 2, np.pi / 2, 26)
    y = -0.3 + 0.72 * np.sin(down)
    pinch = np.where(down > 0, 1.0 - 0.3 * (np.sin(down) ** 2), 1.0)
    reach = slim * np.maximum(np.cos(down), 0.0) ** 0.8 * pinch
    reach = np.where(down > 0.9, np.maximum(reach, 0.2 * slim), reach)
    sides = [np.stack([k * reach, y], axis=1) for k in (1.0, -1.0)]
    envelope = np.concatenate([sides[0], sides[1][::-1]])
    sketch.solid(colour, envelope)
    other = CREAM if rng.random() < 0.5 else lighter(pick(rng, "yellow", "pink", "blue"), 0.2)
    if rng.random() < 0.65:
        cuts = (-0.78, -0.34, 0.34, 0.78)
        for a, b in zip(cuts[::2], cuts[1::2], strict=True):
            left, right = (np.stack([k * reach, y], axis=1) for k in (a, b))
            sketch.mark(other, np.concatenate([left, right[::-1]]))
    else:
        band = slice(9, 15)
        sketch.mark(other, np.concatenate([sides[0][band], sides[1][band][::-1]]))
        belt = range(-3, 4)
        sketch.mark(darker(colour, 0.1), *(disc(0.2 * slim * 1.35 * i, -0.3, 0.06) for i in belt))
    sketch.mark(lighter(colour, 0.6), stroke(arc(0.0, -0.3, 0.82 * slim, 0.54, 195, 235), 0.08))
    return sketch


def key(rng: np.random.Generator, colour: Colour) -> Sketch:
    """A big bow with a hole you can see through, a shaft and teeth."""
    sketch = Sketch()
    teeth = int(rng.integers(2, 4))
    deep = rng.uniform(0.38, 0.46)
    shaft = box(-0.2, -0.14, 1.0, 0.14, 0.06)
    bits = [box(0.88 - 0.32 * i, 0.0, 1.06 - 0.32 * i, deep, 0.04) for i in range(teeth)]
    bits = [bit - (0.06, 0.0) for bit in bits]
    if rng.random() < 0.5:
        ring = [stroke(arc(-0.55, 0.0, 0.35, 0.35, a, a + 140), 0.3) for a in (0, 120, 240)]
    else:
        ring = [
            disc(-0.55 + 0.37 * c, 0.37 * s, 0.19) for c, s in ((0, 1), (0, -1), (-1, 0), (1, 0))
        ]
        ring += [stroke(arc(-0.55, 0.0, 0.34, 0.34, a, a + 140), 0.2) for a in (0, 120, 240)]
    sketch.solid(colour, shaft, *bits, *ring)
    glow = stroke(curve([(-0.82, -0.14), (-0.7, -0.28), (-0.5, -0.34)]), 0.06)
    sketch.mark(lighter(colour, 0.65), glow, stroke([(0.02, -0.06), (0.86, -0.06)], 0.055))
    sketch.mark(darker(colour, 0.3), stroke([(0.02, 0.08), (0.86, 0.08)], 0.035))
    sketch.solid(darker(colour, 0.1), box(-0.2, -0.21, -0.05, 0.21, 0.05))
    return sketch
