"""Things that grow or shine: tree, flower, sun, star, mushroom, apple."""

import numpy as np

from cascade_clip.picturebook.canvas import Sketch
from cascade_clip.picturebook.face import draw_face
from cascade_clip.picturebook.geometry import (
    Points,
    arc,
    box,
    curve,
    disc,
    rotate,
    rounded,
    smooth,
    stroke,
    towards,
)
from cascade_clip.picturebook.palette import (
    CREAM,
    TRUNK,
    Colour,
    darker,
    jitter,
    lighter,
    mix,
    pick,
)


def tree(rng: np.random.Generator, colour: Colour) -> Sketch:
    """A leafy crown or a fir on a trunk."""
    sketch = Sketch()
    bark = jitter(rng, TRUNK)
    half = rng.uniform(0.12, 0.17)
    trunk = rounded([(-half, 0.0), (half, 0.0), (1.35 * half, 1.0), (-1.35 * half, 1.0)], 0.06)
    sketch.solid(bark, trunk)
    sketch.mark(darker(bark, 0.2), box(0.2 * half, 0.1, half, 0.96))
    if rng.random() < 0.3:
        _fir(sketch, colour)
    else:
        _crown(sketch, rng, colour)
    return sketch


def _fir(sketch: Sketch, colour: Colour) -> None:
    tiers = 3
    for tier in range(tiers):
        low = 0.72 - 0.48 * tier
        reach = 0.74 - 0.17 * tier
        corners = [(0.0, low - 0.82), (reach, low), (0.0, low + 0.1), (-reach, low)]
        layer = rounded(corners, 0.12)
        sketch.solid(colour, layer)
        sketch.mark(lighter(colour, 0.2), towards(layer, -0.3 * reach, low - 0.1, 0.6))


def _crown(sketch: Sketch, rng: np.random.Generator, colour: Colour) -> None:
    lobes = int(rng.integers(5, 8))
    angles = np.arange(lobes) * (2 * np.pi / lobes) + rng.uniform(0, 6.28)
    lumps = [
        disc(0.44 * np.cos(a), -0.28 + 0.36 * np.sin(a), r)
        for a, r in zip(angles.tolist(), rng.uniform(0.32, 0.4, lobes).tolist(), strict=True)
    ]
    lumps.append(disc(0.0, -0.28, 0.5))
    sketch.solid(colour, *lumps)
    sketch.mark(lighter(colour, 0.17), *(towards(p, -0.24, -0.5, 0.72) for p in lumps))
    sketch.mark(lighter(colour, 0.34), disc(-0.34, -0.6, 0.13, 0.08, -0.6))
    style = rng.random()
    spots = [(-0.3, -0.1), (0.1, -0.55), (0.38, -0.2), (0.02, 0.0), (-0.5, -0.38), (0.42, -0.52)]
    if style < 0.35:
        fruit = pick(rng, "red", "yellow", "orange", "white")
        sketch.mark(darker(fruit, 0.25), *(disc(x + 0.01, y + 0.02, 0.08) for x, y in spots))
        sketch.mark(fruit, *(disc(x, y, 0.07) for x, y in spots))
    else:
        leaf = darker(colour, 0.22)
        sketch.mark(leaf, *(stroke(arc(x, y, 0.08, 0.07, 20, 160), 0.035) for x, y in spots))


def flower(rng: np.random.Generator, colour: Colour) -> Sketch:
    """Five to eight petals with a face, a stem and two leaves."""
    sketch = Sketch()
    green = pick(rng, "green")
    bend = rng.uniform(-0.12, 0.12)
    stem = curve([(0.0, -0.2), (bend, 0.4), (0.0, 1.05)])
    sketch.solid(green, stroke(stem, 0.13))
    for side in (-1.0, 1.0):
        y = 0.82 + rng.uniform(-0.1, 0.08)
        leaf = smooth([(0, y), (side * 0.22, y - 0.26), (side * 0.54, y - 0.3), (side * 0.34, y)])
        sketch.solid(green, leaf)
        rib = curve([(side * 0.08, y - 0.06), (side * 0.28, y - 0.16), (side * 0.42, y - 0.22)])
        sketch.mark(lighter(green, 0.35), stroke(rib, 0.035))
    petals = int(rng.integers(5, 9))
    fat = {5: 0.3, 6: 0.27, 7: 0.24, 8: 0.21}[petals]
    petal = disc(0.42, 0.0, 0.31, fat)
    inner = disc(0.4, 0.0, 0.24, 0.55 * fat)
    angles = [2 * np.pi * (i / petals) + 0.3 for i in range(petals)]
    centre = np.array((0.0, -0.36))
    sketch.solid(colour, *(rotate(petal, a) + centre for a in angles))
    sketch.mark(lighter(colour, 0.25), *(rotate(inner, a) + centre for a in angles))
    sketch.mark(
        darker(colour, 0.28),
        *(rotate(stroke(((0.3, 0.0), (0.48, 0.0)), 0.035), a) + centre for a in angles),
    )
    yolk = pick(rng, "yellow", "orange") if colour[0] + colour[2] > 330 else pick(rng, "yellow")
    if colour[0] > 225 and colour[1] > 180 and colour[2] < 130:
        yolk = pick(rng, "orange", "brown")
    heart = disc(0.0, -0.36, 0.27)
    sketch.solid(yolk, heart)
    sketch.mark(lighter(yolk, 0.3), towards(heart, -0.08, -0.46, 0.8))
    draw_face(sketch, rng, 0.0, -0.38, 0.36)
    return sketch


def sun(rng: np.random.Generator, colour: Colour) -> Sketch:
    """A smiling disc in a ring of rays."""
    sketch = Sketch()
    rays = int(rng.integers(9, 14))
    ray_colour = mix(colour, (250, 150, 40), 0.3)
    reach = rng.uniform(0.95, 1.05)
    if rng.random() < 0.5:
        ray = rounded([(0.5, -0.17), (reach, -0.02), (reach, 0.02), (0.5, 0.17)], 0.04)
    else:
        ray = stroke([(0.55, 0.0), (reach - 0.05, 0.0)], 0.17)
    twist = rng.uniform(0, 6.28)
    spikes: list[Points] = []
    for i in range(rays):
        short = 1.0 if i % 2 == 0 or rays % 2 else 0.88
        spikes.append(rotate(ray * (short, 1.0), twist + 2 * np.pi * i / rays))
    sketch.solid(ray_colour, *spikes)
    face = disc(0.0, 0.0, 0.62)
    sketch.solid(colour, face)
    sketch.mark(lighter(colour, 0.28), towards(face, -0.25, -0.28, 0.84))
    draw_face(sketch, rng, 0.0, 0.0, 0.8)
    return sketch


def star(rng: np.random.Generator, colour: Colour) -> Sketch:
    """Five soft points and a sleepy face."""
    sketch = Sketch()
    angle = np.arange(10) * (np.pi / 5) - np.pi / 2
    waist = rng.uniform(0.48, 0.56)
    radius = np.where(np.arange(10) % 2 == 0, 1.0, waist)
    corners = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    body = rounded(corners, 0.17)
    sketch.solid(colour, body)
    sketch.mark(lighter(colour, 0.3), towards(body, -0.1, -0.12, 0.83))
    shine = stroke(curve([(-0.12, -0.52), (-0.19, -0.36), (-0.3, -0.29)]), 0.07)
    sketch.mark(lighter(colour, 0.8), shine)
    draw_face(sketch, rng, 0.0, 0.03, 0.62)
    return sketch


def mushroom(rng: np.random.Generator, colour: Colour) -> Sketch:
    """A spotted cap on a pale stalk with a face."""
    sketch = Sketch()
    pale = jitter(rng, CREAM)
    slim = rng.uniform(0.3, 0.38)
    stalk = smooth(
        [(-slim, -0.05), (slim, -0.05), (slim + 0.03, 0.5), (slim + 0.1, 0.86), (0.0, 0.98),
         (-slim - 0.1, 0.86), (-slim - 0.03, 0.5)]
    )  # fmt: skip
    sketch.solid(darker(pale, 0.14), stalk, outline=darker(pale, 0.55))
    sketch.mark(pale, towards(stalk, -0.2, 0.35, 0.85))
    gill = disc(0.0, 0.02, 0.78, 0.17)
    sketch.solid(darker(pale, 0.22), gill, outline=darker(colour, 0.5))
    tall = rng.uniform(0.82, 1.0)
    top = arc(0.0, 0.04, 0.98, tall, 180, 360)
    brim = arc(0.0, 0.02, 0.98, 0.12, 0, 180)
    cap = rounded(np.concatenate([top, brim[1:-1]]), 0.03, 3)
    sketch.solid(colour, cap)
    sketch.mark(lighter(colour, 0.16), towards(cap, -0.25, -0.35, 0.86))
    spots = [(-0.5, -0.3 * tall, 0.16, 0.18), (0.05, -0.56 * tall, 0.2, 0.17),
             (0.55, -0.32 * tall, 0.13, 0.16), (0.1, -0.12, 0.13, 0.1),
             (-0.72, -0.06, 0.08, 0.07), (-0.36, -0.7 * tall, 0.09, 0.07)]  # fmt: skip
    sketch.mark(CREAM, *(disc(x, y, rx, ry) for x, y, rx, ry in spots))
    draw_face(sketch, rng, 0.0, 0.5, 0.5)
    return sketch


def apple(rng: np.random.Generator, colour: Colour) -> Sketch:
    """Two round shoulders, a stalk and a leaf."""
    sketch = Sketch()
    sketch.solid(
        jitter(rng, TRUNK), stroke(curve([(0.0, -0.45), (0.04, -0.75), (0.14, -0.96)]), 0.12)
    )
    wide = rng.uniform(0.84, 0.94)
    body = smooth(
        [(0.0, -0.52), (0.34, -0.66), (0.74 * wide, -0.52), (wide, -0.04), (0.76 * wide, 0.56),
         (0.36, 0.9), (0.0, 0.82), (-0.36, 0.9), (-0.76 * wide, 0.56), (-wide, -0.04),
         (-0.74 * wide, -0.52), (-0.34, -0.66)]
    )  # fmt: skip
    sketch.solid(colour, body)
    sketch.mark(lighter(colour, 0.17), towards(body, -0.2, -0.12, 0.86))
    sketch.mark(darker(colour, 0.3), stroke(curve([(-0.2, -0.52), (0, -0.42), (0.2, -0.52)]), 0.06))
    shine = stroke(curve([(-0.62, 0.05), (-0.6, -0.2), (-0.44, -0.38)]), 0.12)
    sketch.mark(lighter(colour, 0.7), shine)
    green = pick(rng, "green")
    leaf = smooth([(0.1, -0.68), (0.3, -0.95), (0.66, -0.94), (0.44, -0.66)])
    sketch.solid(green, leaf)
    rib = stroke([(0.22, -0.74), (0.5, -0.86)], 0.04)
    sketch.mark(lighter(green, 0.4), rib)
    if rng.random() < 0.5:
        draw_face(sketch, rng, 0.02, 0.18, 0.66)
    return sketch
