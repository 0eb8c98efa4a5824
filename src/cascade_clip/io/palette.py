"""Class colours: the same name wears the same colour in every picture."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Sequence

RGB = tuple[int, int, int]
"""Red, green, blue, each 0..255."""

BACKGROUND: RGB = (58, 60, 66)
IGNORED: RGB = (236, 236, 236)
SEEN_COLOUR = "#4C7BB8"
UNSEEN_COLOUR = "#E08A1E"

# Picked greedily so that the smallest distance in OKLab, under normal, deuteranopic and protanopic
# vision, stays as large as it can; the first seven are those of Okabe and Ito (2008).
SLOTS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#991F47",
    "#3BE0C6", "#857AF5", "#8FC28F", "#66477A", "#995200", "#2947B8", "#A3CCF5", "#3D7A70",
    "#F5CC8F", "#00CCC2", "#3399CC", "#AD5252", "#99A35C", "#ADD647", "#5C66E0", "#997099",
    "#5C668F", "#7A2999", "#478F14", "#7099F5", "#99290A", "#C2B866", "#F5A3C2", "#A38552",
)  # fmt: skip

# Names whose colour people expect; every other name takes the slot its checksum points at.
EXPECTED = {
    "sky": 14, "water": 0, "sea": 0, "river": 18, "grass": 26, "tree": 2, "sand": 16, "brick": 28,
    "wood": 12, "sun": 6, "road": 24, "wall": 31, "cat": 1, "snow": 8,
}  # fmt: skip


def class_colours(names: Sequence[str]) -> list[RGB]:
    """One colour for each of C names, in their order.

    A name's colour depends on the name alone unless two names of the list want the same slot: then
    the alphabetically later one moves on to the next free slot. From the 33rd name on, colours are
    computed from the checksum and may come close to each other.
    """
    chosen: dict[str, RGB] = {}
    free = set(range(len(SLOTS)))
    for name in sorted(set(names), key=lambda name: (name.casefold() not in EXPECTED, name)):
        if not free:
            chosen[name] = _computed(name)
            continue
        wanted = _preferred_slot(name)
        slot = min(free, key=lambda slot: (slot - wanted) % len(SLOTS))
        free.discard(slot)
        chosen[name] = _from_hex(SLOTS[slot])
    return [chosen[name] for name in names]


def lighter(colour: RGB, share: float = 0.55) -> RGB:
    """The colour with `share` (0..1) of white."""
    red, green, blue = (round(value + (255 - value) * share) for value in colour)
    return red, green, blue


def to_hex(colour: RGB) -> str:
    """`#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _preferred_slot(name: str) -> int:
    key = name.casefold()
    return EXPECTED.get(key, zlib.crc32(key.encode("utf-8", "replace")) % len(SLOTS))


def _computed(name: str) -> RGB:
    checksum = zlib.crc32(name.encode("utf-8", "replace"))
    hue = (checksum & 0xFFFF) / 0x10000
    saturation = 0.45 + 0.4 * ((checksum >> 16) & 0xFF) / 0xFF
    value = 0.55 + 0.4 * (checksum >> 24) / 0xFF
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue


def _from_hex(text: str) -> RGB:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
