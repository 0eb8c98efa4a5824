"""Sketches (coloured polygons) and the canvas that turns them into pixels and labels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from cascade_clip.picturebook.geometry import Points, grown
from cascade_clip.picturebook.palette import Colour, darker

SUPERSAMPLE = 3
"""Samples per pixel and axis; odd, so that a pixel has a sample at its centre."""

OUTLINE = 0.0085
"""Width of a thing's outline, as a share of the picture's short side."""


class Shape(NamedTuple):
    """Polygons of one colour; those with an outline make up the silhouette."""

    polygons: tuple[Points, ...]
    fill: Colour
    outline: Colour | None


@dataclass
class Sketch:
    """One thing as a list of parts, back to front, in any coordinates."""

    parts: list[Shape] = field(default_factory=list)

    def solid(self, fill: Colour, *polygons: Points, outline: Colour | None = None) -> None:
        """Adds to the silhouette; the polygons share one outline."""
        self.parts.append(Shape(polygons, fill, outline or darker(fill, 0.5)))

    def mark(self, fill: Colour, *polygons: Points) -> None:
        """Adds a detail, which has to lie inside the silhouette."""
        self.parts.append(Shape(polygons, fill, None))

    def drawing(self) -> "Drawing":
        """The same as one array of points, which is quick to move."""
        polygons = [points for part in self.parts for points in part.polygons]
        return Drawing(
            points=np.concatenate(polygons),
            lengths=np.array([len(points) for points in polygons]),
            styles=tuple((len(p.polygons), p.fill, p.outline) for p in self.parts),
        )


@dataclass(frozen=True)
class Drawing:
    """A finished sketch.

    Attributes:
        points: Vertices of all polygons, one polygon after the other (N, 2).
        lengths: Vertices of each polygon (P,).
        styles: For each part how many polygons it has, its colour and its outline's colour.
    """

    points: Points
    lengths: NDArray[np.int64]
    styles: tuple[tuple[int, Colour, Colour | None], ...]

    def silhouette(self) -> Points:
        """All points of the outlined parts (M, 2)."""
        outlined = [outline is not None for count, _, outline in self.styles for _ in range(count)]
        chosen: Points = self.points[np.repeat(np.array(outlined), self.lengths)]
        return chosen

    def moved(self, points: Points) -> "Drawing":
        """The same drawing with its vertices elsewhere."""
        return Drawing(points, self.lengths, self.styles)


class Canvas:
    """Picture and label map, ``SUPERSAMPLE`` times as fine as what comes out.

    Coordinates are in units of the picture's short side. Vertices are rounded to the sample grid
    and filled with integer arithmetic, so every machine draws the same.
    """

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.scale = float(min(height, width) * SUPERSAMPLE)
        self.size = (width * SUPERSAMPLE, height * SUPERSAMPLE)
        self.picture = Image.new("RGB", self.size)
        self.labels = Image.new("L", self.size)

    def _flat(self, points: Points) -> list[int]:
        """Sample coordinates x0, y0, x1, y1, ..."""
        flat: list[int] = np.rint(points * self.scale - 0.5).astype(np.int64).ravel().tolist()
        return flat

    def paint_region(
        self,
        base: tuple[Colour, Colour],
        strokes: Sequence[tuple[Colour, Points]],
        border: Points | None,
        label: int,
    ) -> None:
        """Paints a texture (``base`` colours top and bottom, then strokes) inside ``border``."""
        top, bottom = base
        layer = self.picture if border is None else Image.new("RGB", self.size, top)
        if top != bottom:
            ramp = np.linspace(np.array(top, float), np.array(bottom, float), self.size[1])
            column = Image.fromarray(np.rint(ramp[:, None]).astype(np.uint8))
            layer.paste(column.resize(self.size, Image.Resampling.NEAREST))
        elif border is None:
            layer.paste(top, (0, 0, *self.size))
        self._paint_strokes(layer, strokes, 0.0 if border is None else float(border[:, 1].min()))
        if border is None:
            self.labels.paste(label, (0, 0, *self.size))
            return
        outline = self._flat(border)
        mask = Image.new("L", self.size)
        ImageDraw.Draw(mask).polygon(outline, fill=255)
        self.picture.paste(layer, mask=mask)
        ImageDraw.Draw(self.labels).polygon(outline, fill=label)

    def _paint_strokes(
        self, layer: Image.Image, strokes: Sequence[tuple[Colour, Points]], top: float
    ) -> None:
        """Fills the strokes that reach below ``top``."""
        if not strokes:
            return
        draw = ImageDraw.Draw(layer)
        lengths = np.array([len(points) for _, points in strokes])
        points = np.concatenate([points for _, points in strokes])
        first = np.cumsum(lengths) - lengths
        seen = (np.maximum.reduceat(points[:, 1], first) >= top).tolist()
        flat = self._flat(points)
        start = 0
        for (fill, shape), needed in zip(strokes, seen, strict=True):
            stop = start + 2 * len(shape)
            if needed:
                draw.polygon(flat[start:stop], fill=fill)
            start = stop

    def draw_thing(self, drawing: Drawing, label: int, shadow: float) -> None:
        """Draws a drawing, given in picture coordinates, over everything before it.

        ``shadow`` (0..1) is the strength of its soft drop shadow, which leaves labels alone.
        """
        edge = grown(drawing.points, drawing.lengths, OUTLINE)
        outer, inner = self._flat(edge), self._flat(drawing.points)
        stops = np.cumsum(2 * drawing.lengths).tolist()
        spans = list(zip([0, *stops[:-1]], stops, strict=True))
        draw, mark = ImageDraw.Draw(self.picture), ImageDraw.Draw(self.labels)
        first = 0
        for count, _, outline in drawing.styles:
            if outline is not None:
                for start, stop in spans[first : first + count]:
                    mark.polygon(outer[start:stop], fill=label)
                    mark.polygon(inner[start:stop], fill=label)
            first += count
        if shadow > 0.0:
            self._cast_shadow(edge, label, shadow)
        first = 0
        for count, fill, outline in drawing.styles:
            mine = spans[first : first + count]
            first += count
            if outline is not None:
                for start, stop in mine:
                    draw.polygon(outer[start:stop], fill=outline)
            for start, stop in mine:
                draw.polygon(inner[start:stop], fill=fill)

    def _cast_shadow(self, edge: Points, label: int, strength: float) -> None:
        """Darkens beside what carries ``label``, blurred at the resolution of the picture."""
        fine = SUPERSAMPLE
        shift = 0.016 * self.scale
        margin = round(2 * shift)
        limit = np.array(self.size)
        low = np.maximum(np.floor(edge.min(axis=0) * self.scale), 0) - margin
        high = np.minimum(np.ceil(edge.max(axis=0) * self.scale), limit) + margin
        x0, y0 = (int(v) for v in low)
        across, down = (int(v) // fine + 1 for v in high - low)
        table = [0] * 256
        table[label] = round(255 * strength)
        mask = self.labels.crop((x0, y0, x0 + fine * across, y0 + fine * down)).point(table)
        mask = mask.reduce(fine).filter(ImageFilter.BoxBlur(0.6 * shift / fine))
        mask = mask.resize((fine * across, fine * down), Image.Resampling.BILINEAR)
        x0, y0 = x0 + round(0.6 * shift), y0 + round(shift)
        self.picture.paste((40, 26, 60), (x0, y0, x0 + mask.width, y0 + mask.height), mask)

    def pixels(self) -> NDArray[np.float32]:
        """Box means, float32 (H, W, 3), 0..255."""
        return np.asarray(self.picture.reduce(SUPERSAMPLE), dtype=np.float32)

    def label_map(self) -> NDArray[np.uint8]:
        """Label at each pixel's centre, uint8 (H, W)."""
        half = SUPERSAMPLE // 2
        return np.asarray(self.labels)[half::SUPERSAMPLE, half::SUPERSAMPLE]
