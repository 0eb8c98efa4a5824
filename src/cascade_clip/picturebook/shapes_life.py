"""Living (or nearly living) things: fish, cat, snowman, heart."""

import numpy as np

from cascade_clip.picturebook.canvas import Sketch
from cascade_clip.picturebook.face import draw_face
from cascade_clip.picturebook.geometry import (
    arc,
    box,
    curve,
    disc,
    rounded,
    smooth,
    stroke,
    towards,
)
from cascade_clip.picturebook.palette import (
    BLUSH,
    CREAM,
    INK,
    NAMED,
    TRUNK,
    Colour,
    darker,
    jitter,
    lighter,
    pick,
)


def fish(rng: np.random.Generator, colour: Colour) -> Sketch:
    """Swims to the left; tail, fins, scales or stripes."""
    sketch = Sketch()
    deep = rng.uniform(0.44, 0.58)
    fin = darker(colour, 0.16)
    tail = smooth(
        [(0.4, 0.0), (0.72, -0.28), (1.02, -0.46), (0.92, -0.1), (0.88, 0.0), (0.92, 0.1),
         (1.02, 0.46), (0.72, 0.28)]
    )  # fmt: skip
    sketch.solid(fin, tail)
    ribs = ([(0.72, 0.1 * k), (0.9, 0.26 * k)] for k in (-1, 1))
    sketch.mark(lighter(colour, 0.25), *(stroke(rib, 0.05) for rib in ribs))
    top = smooth([(-0.42, -0.5 * deep), (-0.1, -deep - 0.22), (0.3, -deep - 0.1), (0.3, -0.3)])
    low = smooth([(-0.1, 0.6 * deep), (0.12, deep + 0.2), (0.32, deep + 0.08), (0.25, 0.3)])
    sketch.solid(fin, top, low)
    body = smooth(
        [(-0.98, 0.02), (-0.72, -0.62 * deep), (-0.2, -deep), (0.36, -0.66 * deep), (0.66, -0.1),
         (0.66, 0.1), (0.36, 0.66 * deep), (-0.2, deep), (-0.72, 0.62 * deep)]
    )  # fmt: skip
    sketch.solid(colour, body)
    sketch.mark(lighter(colour, 0.45), towards(body, -0.2, 0.5 * deep, 0.62))
    sketch.mark(lighter(colour, 0.12), towards(body, -0.2, -0.45 * deep, 0.66))
    if rng.random() < 0.5:
        bands = (arc(x, 0, 0.16, y * deep, 100, 260) for x, y in ((0.1, 0.72), (0.38, 0.5)))
        sketch.mark(CREAM, *(stroke(band, 0.11) for band in bands))
    else:
        scale = [(-0.06, -0.14), (0.18, -0.14), (0.06, 0.1), (0.3, 0.06), (-0.04, 0.24)]
        arcs = (stroke(arc(x, y, 0.1, 0.11, -80, 80), 0.04) for x, y in scale)
        sketch.mark(darker(colour, 0.2), *arcs)
    flipper = smooth([(-0.28, 0.08), (0.06, 0.02), (0.1, 0.3), (-0.14, 0.28)])
    sketch.solid(fin, flipper)
    sketch.mark((255, 255, 255), disc(-0.6, -0.12, 0.15))
    sketch.mark(INK, disc(-0.62, -0.11, 0.09))
    sketch.mark((255, 255, 255), disc(-0.65, -0.15, 0.03))
    sketch.mark(BLUSH, disc(-0.52, 0.13, 0.09, 0.06))
    sketch.mark(INK, stroke(arc(-0.74, 0.05, 0.12, 0.12, 25, 115), 0.045))
    return sketch


def cat(rng: np.random.Generator, colour: Colour) -> Sketch:
    """Sits and looks at you, tail curled to one side."""
    sketch = Sketch()
    light = sum(colour) > 600
    shade = darker(colour, 0.14 if light else 0.24)
    edge = darker(colour, 0.55)
    night = sum(colour) < 330
    belly = lighter(colour, 0.25 if night else 0.55)
    high = rng.uniform(0.0, 0.3)
    tail = curve([(0.3, 0.84), (0.74, 0.8), (0.86, 0.48 - high / 2), (0.68, 0.26 - high)])
    sketch.solid(shade, stroke(tail, 0.2, 0.8), outline=edge)
    plump = rng.uniform(0.46, 0.56)
    body = smooth(
        [(-0.26, -0.1), (0.26, -0.1), (plump, 0.5), (plump - 0.03, 0.86), (0.0, 0.98),
         (0.03 - plump, 0.86), (-plump, 0.5)]
    )  # fmt: skip
    sketch.solid(colour, body, outline=edge)
    sketch.mark(belly, disc(0.0, 0.46, 0.25, 0.34))
    sketch.solid(colour, disc(-0.22, 0.9, 0.2, 0.13), disc(0.22, 0.9, 0.2, 0.13), outline=edge)
    toes = [(x, 0.92) for x in (-0.27, -0.17, 0.17, 0.27)]
    sketch.mark(edge, *(stroke([(x, y - 0.03), (x, y + 0.05)], 0.03) for x, y in toes))
    tip = rng.uniform(0.92, 1.06)
    ears = [
        rounded([(s * 0.6, -0.3), (s * 0.56, -tip), (s * 0.08, -0.62)], 0.09) for s in (-1.0, 1.0)
    ]
    head = disc(0.0, -0.34, 0.64, 0.47)
    sketch.solid(colour, *ears, head, outline=edge)
    sketch.mark(BLUSH, towards(ears[0], -0.44, -0.66, 0.5), towards(ears[1], 0.44, -0.66, 0.5))
    sketch.mark(lighter(colour, 0.12), towards(head, -0.12, -0.44, 0.84))
    _fur(sketch, rng, colour)
    _cat_face(sketch, night, edge, belly)
    return sketch


def _fur(sketch: Sketch, rng: np.random.Generator, colour: Colour) -> None:
    style = rng.random()
    dark = darker(colour, 0.34)
    if style < 0.55:
        tabby = [(-0.16, -0.66), (0.0, -0.62), (0.16, -0.66)]
        sketch.mark(dark, *(stroke([(x, -0.76), (0.8 * x, y)], 0.08, 0.5) for x, y in tabby))
        sides = ([(s * 0.4, y), (s * 0.29, y + 0.02)] for s in (-1, 1) for y in (0.42, 0.57, 0.71))
        sketch.mark(dark, *(stroke(line, 0.08, 0.5) for line in sides))
    elif style < 0.75:
        scarf = pick(rng, "red", "blue", "green", "yellow")
        sketch.mark(scarf, stroke(arc(0.0, -0.12, 0.33, 0.3, 30, 150), 0.11))
        sketch.mark(NAMED["yellow"], disc(0.0, 0.24, 0.08))


def _cat_face(sketch: Sketch, night: bool, edge: Colour, belly: Colour) -> None:
    sketch.mark(belly, disc(-0.1, -0.16, 0.15, 0.12), disc(0.1, -0.16, 0.15, 0.12))
    if night:
        sketch.mark((214, 226, 120), *(disc(s * 0.27, -0.38, 0.125, 0.135) for s in (-1, 1)))
    sketch.mark(INK, *(disc(s * 0.27, -0.38, 0.085, 0.12) for s in (-1, 1)))
    sketch.mark((255, 255, 255), *(disc(s * 0.27 - 0.025, -0.43, 0.033) for s in (-1, 1)))
    sketch.mark((232, 110, 120), rounded([(-0.08, -0.27), (0.08, -0.27), (0.0, -0.18)], 0.04))
    ink = INK if not night else (40, 34, 44)
    smile = (stroke(arc(s * 0.075, -0.17, 0.075, 0.07, 10, 170), 0.035) for s in (-1, 1))
    sketch.mark(ink, *smile)
    whisker = lighter(edge, 0.75) if night else edge
    hairs = ([(s * 0.34, -0.18 + d), (s * 0.55, -0.2 + 2 * d)] for s in (-1, 1) for d in (0, 0.05))
    sketch.mark(whisker, *(stroke(hair, 0.028) for hair in hairs))


def snowman(rng: np.random.Generator, colour: Colour) -> Sketch:
    """Two balls, a carrot, a scarf and a hat."""
    sketch = Sketch()
    snow = lighter(colour, 0.0 if min(colour) > 200 else 0.55)
    edge = darker((150, 170, 205), 0.35)
    shade = darker(snow, 0.1)
    for s in (-1, 1):
        lift = rng.uniform(-0.25, 0.1)
        arm = curve([(s * 0.4, 0.25), (s * 0.62, 0.14 + lift / 2), (s * 0.86, lift)])
        sketch.solid(TRUNK, stroke(arm, 0.1, 0.7))
    belly = disc(0.0, 0.5, 0.56, 0.5)
    sketch.solid(shade, belly, outline=edge)
    sketch.mark(snow, towards(belly, -0.18, 0.38, 0.86))
    head = disc(0.0, -0.26, 0.4)
    sketch.solid(shade, head, outline=edge)
    sketch.mark(snow, towards(head, -0.12, -0.32, 0.86))
    cloth = pick(rng, "red", "green", "blue", "purple", "orange")
    _hat(sketch, rng, cloth)
    end = rounded([(0.12, 0.02), (0.32, 0.02), (0.36, 0.46), (0.16, 0.46)], 0.05)
    wrap = stroke(curve([(-0.35, 0.0), (0.0, 0.13), (0.35, 0.0)]), 0.18)
    sketch.solid(cloth, end)
    sketch.solid(cloth, wrap)
    sketch.mark(lighter(cloth, 0.45), box(0.17, 0.24, 0.34, 0.29), box(0.18, 0.35, 0.34, 0.4))
    sketch.mark(INK, *(disc(-0.1, y, 0.055) for y in (0.36, 0.56, 0.76)))
    sketch.mark(INK, *(disc(s * 0.15, -0.34, 0.05, 0.06) for s in (-1, 1)))
    sketch.mark(BLUSH, *(disc(s * 0.25, -0.2, 0.07, 0.05) for s in (-1, 1)))
    sketch.mark(INK, stroke(arc(0.0, -0.2, 0.17, 0.13, 25, 155), 0.04))
    carrot = rounded([(0.0, -0.31), (-0.34, -0.2), (0.0, -0.19)], 0.05)
    sketch.mark(darker(NAMED["orange"], 0.3), towards(carrot, -0.1, -0.22, 1.15))
    sketch.mark(NAMED["orange"], carrot)
    return sketch


def _hat(sketch: Sketch, rng: np.random.Generator, cloth: Colour) -> None:
    if rng.random() < 0.6:
        felt = jitter(rng, NAMED["black"])
        sketch.solid(felt, box(-0.27, -1.08, 0.27, -0.58, 0.05))
        sketch.mark(cloth, box(-0.27, -0.76, 0.27, -0.64))
        sketch.solid(felt, box(-0.46, -0.64, 0.46, -0.53, 0.05))
        sketch.mark(lighter(felt, 0.22), box(-0.2, -1.02, -0.13, -0.8))
    else:
        cap = arc(0.0, -0.52, 0.39, 0.42, 180, 360)
        sketch.solid(cloth, cap)
        sketch.mark(lighter(cloth, 0.2), towards(cap, -0.1, -0.6, 0.7))
        sketch.solid(lighter(cloth, 0.6), box(-0.43, -0.62, 0.43, -0.47, 0.07))
        sketch.solid(lighter(cloth, 0.6), disc(0.0, -0.98, 0.12))


def heart(rng: np.random.Generator, colour: Colour) -> Sketch:
    """Two bows and a point, sometimes with a smile."""
    sketch = Sketch()
    dip = rng.uniform(-0.52, -0.4)
    half = curve(
        [(0.0, dip), (0.2, -0.74), (0.55, -0.84), (0.88, -0.6), (0.93, -0.22), (0.72, 0.2),
         (0.36, 0.56), (0.0, 0.9)]
    )  # fmt: skip
    body = rounded(np.concatenate([half, (half * (-1.0, 1.0))[::-1][1:-1]]), 0.02, 3)
    sketch.solid(colour, body)
    sketch.mark(lighter(colour, 0.16), towards(body, -0.12, -0.18, 0.85))
    shine = stroke(curve([(-0.68, -0.2), (-0.66, -0.42), (-0.48, -0.57)]), 0.13)
    sketch.mark(lighter(colour, 0.75), shine)
    style = rng.random()
    if style < 0.6:
        draw_face(sketch, rng, 0.0, -0.1, 0.72)
    elif style < 0.8:
        dots = [(0.0, 0.0), (0.4, -0.36), (-0.3, 0.14), (0.3, 0.2), (0.0, 0.46), (-0.05, -0.3)]
        sketch.mark(lighter(colour, 0.7), *(disc(x, y, 0.08) for x, y in dots))
    return sketch
