"""Named colours, and how each class wears them."""

import colorsys

import numpy as np

Colour = tuple[int, int, int]
"""Red, green, blue, each 0..255."""

NAMED: dict[str, Colour] = {
    "red": (224, 70, 66),
    "orange": (242, 140, 50),
    "yellow": (250, 205, 66),
    "green": (102, 176, 84),
    "blue": (72, 136, 210),
    "purple": (146, 98, 192),
    "pink": (244, 138, 172),
    "brown": (152, 100, 64),
    "white": (247, 243, 235),
    "gray": (150, 152, 162),
    "black": (66, 60, 70),
}

WORN: dict[str, tuple[str, ...]] = {
    "house": ("red", "yellow", "blue", "white", "pink"),
    "tree": ("green", "orange", "pink", "yellow"),
    "car": ("red", "blue", "yellow", "green"),
    "boat": ("red", "blue", "green", "white"),
    "fish": ("orange", "blue", "yellow", "purple", "pink"),
    "cat": ("orange", "gray", "black", "white"),
    "flower": ("red", "pink", "yellow", "purple", "white"),
    "sun": ("yellow", "orange", "red"),
    "star": ("yellow", "blue", "pink", "white"),
    "mushroom": ("red", "brown", "orange", "purple"),
    "umbrella": ("red", "blue", "green", "yellow", "purple"),
    "balloon": ("red", "blue", "green", "orange", "purple"),
    "snowman": ("white", "blue", "pink"),
    "apple": ("red", "green", "yellow"),
    "heart": ("red", "pink", "purple"),
    "key": ("yellow", "gray", "brown"),
}
"""The colours in which each thing is drawn."""

INK: Colour = (58, 44, 56)
CREAM: Colour = (253, 246, 228)
BLUSH: Colour = (246, 150, 150)
TRUNK: Colour = (146, 98, 66)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """``a`` with ``share`` (0..1) of ``b``."""
    keep = 1.0 - share
    return (
        round(a[0] * keep + b[0] * share),
        round(a[1] * keep + b[1] * share),
        round(a[2] * keep + b[2] * share),
    )


def darker(colour: Colour, share: float = 0.25) -> Colour:
    """Towards a warm dark violet, which keeps shadows lively."""
    return mix(colour, (64, 28, 60), share)


def lighter(colour: Colour, share: float = 0.35) -> Colour:
    """Towards a warm white."""
    return mix(colour, (255, 252, 240), share)


def jitter(rng: np.random.Generator, colour: Colour, amount: float = 1.0) -> Colour:
    """The colour with a slightly different hue, saturation and light."""
    dh, ds, dv = (rng.random(3) * 2.0 - 1.0).tolist()
    hue, sat, val = colorsys.rgb_to_hsv(colour[0] / 255, colour[1] / 255, colour[2] / 255)
    hue = (hue + 0.014 * amount * dh) % 1.0
    sat = min(1.0, max(0.0, sat * (1.0 + 0.12 * amount * ds)))
    val = min(1.0, max(0.0, val * (1.0 + 0.07 * amount * dv)))
    red, green, blue = colorsys.hsv_to_rgb(hue, sat, val)
    return round(red * 255), round(green * 255), round(blue * 255)


def pick(rng: np.random.Generator, *names: str) -> Colour:
    """One of the named colours, jittered."""
    return jitter(rng, NAMED[names[int(rng.integers(len(names)))]])
