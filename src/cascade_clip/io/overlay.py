"""Draws label maps over pictures, with a legend."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from cascade_clip.io.palette import BACKGROUND, RGB, lighter

Labels = npt.NDArray[np.integer]
"""(H, W); values outside 0..C-1 are background."""
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

MIN_SHOWN_SIDE = 512
"""Small pictures are enlarged to about this long side when a legend is drawn, so that it fits."""
MAX_LEGEND_ENTRIES = 24
MAX_NAME_LENGTH = 40
MAX_STRIP_PIXELS = 50_000_000

_PAPER, _INK, _SOFT = (250, 250, 250), (32, 33, 36), (120, 124, 130)


@dataclass(frozen=True)
class Chip:
    """One entry of a drawn legend: a name and its share (0..1) of the picture's pixels."""

    name: str
    colour: RGB
    share: float


def paint_labels(labels: Labels, colours: Sequence[RGB], other: RGB = BACKGROUND) -> Image.Image:
    """The label map in plain class colours; labels outside 0..C-1 in the colour `other`."""
    return Image.fromarray(_colour_table(colours, other)[_safe(labels, len(colours))])


def draw_overlay(
    picture: npt.NDArray[np.uint8],
    labels: Labels,
    colours: Sequence[RGB],
    *,
    opacity: float = 0.55,
) -> Image.Image:
    """Class colours over the picture (H, W, 3), each region edged in a lighter tone of its colour.

    `opacity` is that of the colours, 0..1. Background pixels stay as in the picture.
    """
    safe = _safe(labels, len(colours))  # (H, W)
    paint = _colour_table(colours, BACKGROUND)[safe].astype(np.float32)
    covered = (safe < len(colours))[..., None]  # (H, W, 1)
    base = picture.astype(np.float32)
    mixed = np.where(covered, base + opacity * (paint - base), base)
    edges = _inner_edges(safe, width=max(1, round(min(safe.shape) / 320)))[..., None] & covered
    rims = _colour_table([lighter(colour) for colour in colours], BACKGROUND)[safe]
    strength = min(1.0, opacity * 1.5)
    mixed = np.where(edges, mixed + strength * (rims - mixed), mixed)
    return Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))


def enlarge(
    picture: npt.NDArray[np.uint8], labels: Labels, long_side: int = MIN_SHOWN_SIDE
) -> tuple[npt.NDArray[np.uint8], Labels]:
    """Picture and labels enlarged by a whole factor so that the long side comes near `long_side`;
    unchanged if the picture is that large already."""
    factor = max(1, round(long_side / max(labels.shape)))
    if factor == 1:
        return picture, labels
    height, width = (side * factor for side in labels.shape)
    larger = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(larger), np.kron(labels, np.ones((factor, factor), dtype=labels.dtype))


def add_legend(picture: Image.Image, chips: Sequence[Chip]) -> Image.Image:
    """The picture with a strip of colour chips, names and shares below it, largest share first.

    A picture so wide that the strip would take more than `MAX_STRIP_PIXELS` stays without it.
    """
    width = max(picture.width, 200)
    size = int(np.clip(width / 34, 13, 44))
    margin, gap = round(size * 0.8), round(size * 0.5)
    ordered = sorted(chips, key=lambda chip: -chip.share)
    shown = ordered[:MAX_LEGEND_ENTRIES]
    rest = len(ordered) - len(shown)
    widths = [_chip_width(chip, size) for chip in shown]
    rows = _flow(widths, width - 2 * margin, gap=2 * gap)
    row_height = round(size * 1.7)
    lines = len(rows) + (1 if rest else 0)
    strip = max(1, lines) * row_height + margin
    if strip * width > MAX_STRIP_PIXELS:
        return picture
    page = Image.new("RGB", (width, picture.height + strip), _PAPER)
    page.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(page)
    middle = picture.height + (margin + row_height) // 2
    for row in rows:
        left = margin
        for index in row:
            _draw_chip(draw, (left, middle), shown[index], size)
            left += widths[index] + 2 * gap
        middle += row_height
    if rest:
        draw.text((margin, middle), f"and {rest} more", font=_font(size), fill=_SOFT, anchor="lm")
    return page


def short_name(name: str) -> str:
    """The name without control characters, cut to a length that fits a legend."""
    shown = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in name)
    return shown if len(shown) <= MAX_NAME_LENGTH else shown[: MAX_NAME_LENGTH - 1] + "…"


def _draw_chip(draw: ImageDraw.ImageDraw, corner: tuple[int, int], chip: Chip, size: int) -> None:
    left, middle = corner
    side = round(size * 1.05)
    box = (left, middle - side // 2, left + side, middle - side // 2 + side)
    draw.rounded_rectangle(box, radius=side // 4, fill=chip.colour)
    name = short_name(chip.name)
    font = _font_for(name, size)
    left += side + size // 2
    draw.text((left, middle), name, font=font, fill=_INK, anchor="lm")
    left += round(font.getlength(name)) + size // 2
    draw.text((left, middle), share_text(chip.share), font=_font(size), fill=_SOFT, anchor="lm")


def _chip_width(chip: Chip, size: int) -> int:
    name = short_name(chip.name)
    texts = _font_for(name, size).getlength(name) + _font(size).getlength(share_text(chip.share))
    return round(size * 1.05 + 2 * (size // 2) + texts)


def share_text(share: float) -> str:
    """A share (0..1) as a percentage without decimals; `<1%` for what would be 0."""
    return "<1%" if 0 < share < 0.005 else f"{100 * share:.0f}%"


def _flow(widths: Sequence[int], available: int, gap: int) -> list[list[int]]:
    """Indices in rows, each as full as it gets; an entry wider than a row has a row to itself."""
    rows: list[list[int]] = []
    left = 0
    for index, width in enumerate(widths):
        if rows and left + gap + width <= available:
            rows[-1].append(index)
            left += gap + width
        else:
            rows.append([index])
            left = width
    return rows


def _safe(labels: Labels, classes: int) -> npt.NDArray[np.int64]:
    values = labels.astype(np.int64)
    return np.where((values < 0) | (values >= classes), classes, values)


def _colour_table(colours: Sequence[RGB], other: RGB) -> npt.NDArray[np.uint8]:
    return np.array([*colours, other], dtype=np.uint8)  # (C + 1, 3)


def _inner_edges(labels: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.bool_]:
    """Pixels whose neighbour to the left, right, above or below has another label, thickened."""
    edges = np.zeros(labels.shape, dtype=bool)
    down, across = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edges[1:] |= down
    edges[:-1] |= down
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    if width == 1:
        return edges
    thick = Image.fromarray(edges.astype(np.uint8) * 255)
    return np.asarray(thick.filter(ImageFilter.MaxFilter(2 * (width // 2) + 1))) > 0


@lru_cache(maxsize=64)
def _font(size: int) -> Font:
    """DejaVu Sans, which matplotlib carries."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(path, size)


def _font_for(text: str, size: int) -> Font:
    """A font that has the text's characters, if one is installed; else DejaVu's empty boxes."""
    path = _font_file_for(frozenset(text))
    return ImageFont.truetype(path, size) if path else _font(size)


@lru_cache(maxsize=256)
def _font_file_for(characters: frozenset[str]) -> str | None:
    """File of an installed font for characters that DejaVu Sans lacks; None: DejaVu will do."""
    if all(ord(character) < 0x250 for character in characters):
        return None
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    needed = {ord(character) for character in characters}
    default = font_manager.findfont("DejaVu Sans")
    files = sorted({entry.fname for entry in font_manager.fontManager.ttflist})
    for file in [default, *files]:
        if needed <= FT2Font(file).get_charmap().keys():
            return None if file == default else file
    return None
