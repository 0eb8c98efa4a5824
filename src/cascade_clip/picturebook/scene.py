"""Scenes: one picture, its mask and its caption from (seed, index)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_clip.errors import UserError
from cascade_clip.picturebook.canvas import Canvas
from cascade_clip.picturebook.contents import (
    CLASSES,
    STUFF,
    THINGS,
    Scene,
    SceneItem,
    describe,
    item_phrases,
)
from cascade_clip.picturebook.layout import Placed, Region, place_stuff, place_things
from cascade_clip.picturebook.textures import light_field

MIN_SIDE = 16


@dataclass(frozen=True)
class SceneSettings:
    """How crowded a scene is.

    Attributes:
        things: Fewest and most things (at most 12).
        thing_size: Smallest and largest longer side of a thing, as a share of the short side.
        stuff: Fewest and most regions of stuff (1 to 6).
        max_overlap: Largest share of a thing's box that another thing's box may cover.
        min_visible: Smallest share of the picture with which something counts as visible.

    Raises:
        UserError: If a value lies outside its range.
    """

    things: tuple[int, int] = (1, 3)
    thing_size: tuple[float, float] = (0.45, 0.82)
    stuff: tuple[int, int] = (1, 3)
    max_overlap: float = 0.2
    min_visible: float = 0.01

    def __post_init__(self) -> None:
        _check_range("things", self.things, 0, 12)
        _check_range("stuff", self.stuff, 1, len(STUFF))
        _check_range("thing_size", self.thing_size, 0.05, 1.0)
        _check_range("max_overlap", (self.max_overlap, self.max_overlap), 0.0, 1.0)
        _check_range("min_visible", (self.min_visible, self.min_visible), 0.0, 0.5)


def _check_range(name: str, got: tuple[float, float], low: float, high: float) -> None:
    if not low <= got[0] <= got[1] <= high:
        raise UserError(f"{name} is {got}; it must go upwards between {low} and {high}.")


def draw_scene(
    seed: int,
    index: int,
    size: int | tuple[int, int] = 96,
    settings: SceneSettings = SceneSettings(),
    classes: Sequence[str] | None = None,
) -> Scene:
    """Draws scene ``index`` of the endless book ``seed``.

    The layout depends on everything but the resolution: the same arguments at another ``size`` of
    the same proportions show the same scene.

    Args:
        seed: Number of the book, 0 to 2**63 - 1.
        index: Number of the scene, 0 to 2**63 - 1.
        size: Side, or (height, width), in pixels; at least 16.
        settings: How crowded the scene is.
        classes: Names to draw from (default: all); at least one of them stuff.

    Raises:
        UserError: If an argument lies outside its range or a class is unknown.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < MIN_SIDE:
        raise UserError(f"size is {height} x {width}; each side needs at least {MIN_SIDE} pixels.")
    things, stuff = _split_classes(classes)
    layout_rng = _generator(seed, index, 0)
    short = min(height, width)
    extent = (width / short, height / short)
    regions_wanted = min(int(layout_rng.integers(*settings.stuff, endpoint=True)), len(stuff))
    things_wanted = int(layout_rng.integers(*settings.things, endpoint=True)) if things else 0
    placed = place_things(
        layout_rng, things, things_wanted, settings.thing_size, settings.max_overlap, *extent
    )
    regions = place_stuff(layout_rng, stuff, regions_wanted, *extent)
    canvas = _paint(regions, placed, height, width)
    instances = canvas.label_map()
    items = _visible_items(regions, placed, instances, settings.min_visible)
    return Scene(
        image=_finish(canvas.pixels(), _generator(seed, index, 1)),
        mask=_class_labels(regions, placed)[instances],
        caption=describe(layout_rng, items),
        items=items,
    )


def phrases(scene: Scene) -> list[str]:
    """Names and colour-name pairs of what is visible: ``["cat", "orange cat", "grass"]``."""
    return item_phrases(scene.items)


def _generator(seed: int, index: int, stream: int) -> np.random.Generator:
    """Counter-based: any scene can be drawn without those before it, the same on any machine."""
    if not (0 <= seed < 2**63 and 0 <= index < 2**63):
        raise UserError(f"seed {seed} and index {index} must lie between 0 and 2**63 - 1.")
    key = np.array([seed, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, stream]))


def _split_classes(classes: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if classes is None:
        return THINGS, STUFF
    unknown = [name for name in classes if name not in CLASSES]
    if unknown:
        raise UserError(f"unknown classes {unknown}; the picture book has {', '.join(CLASSES)}.")
    things = tuple(name for name in THINGS if name in classes)
    stuff = tuple(name for name in STUFF if name in classes)
    if not stuff:
        raise UserError(
            f"classes {list(classes)} hold no stuff to draw on; add one of {', '.join(STUFF)}."
        )
    return things, stuff


def _paint(regions: Sequence[Region], placed: Sequence[Placed], height: int, width: int) -> Canvas:
    """Labels count the regions first, then the things."""
    canvas = Canvas(height, width)
    for label, region in enumerate(regions):
        texture = region.texture
        canvas.paint_region((texture.top, texture.bottom), texture.strokes, region.border, label)
    for label, thing in enumerate(placed, start=len(regions)):
        canvas.draw_thing(thing.drawing, label, thing.shadow)
    return canvas


def _class_labels(regions: Sequence[Region], placed: Sequence[Placed]) -> NDArray[np.uint8]:
    names = [region.name for region in regions] + [thing.name for thing in placed]
    return np.array([CLASSES.index(name) for name in names], dtype=np.uint8)


def _visible_items(
    regions: Sequence[Region],
    placed: Sequence[Placed],
    instances: NDArray[np.uint8],
    min_visible: float,
) -> tuple[SceneItem, ...]:
    """Things front to back, then stuff."""
    areas = (np.bincount(instances.ravel(), minlength=256) / instances.size).tolist()
    found = [
        SceneItem(thing.name, thing.colour, areas[label])
        for label, thing in enumerate(placed, start=len(regions))
    ][::-1]
    found += [SceneItem(region.name, None, areas[label]) for label, region in enumerate(regions)]
    return tuple(item for item in found if item.area >= max(min_visible, 1e-9))


def _finish(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Light and paper grain."""
    height, width = pixels.shape[:2]
    pixels *= light_field(rng, height, width)
    grain = rng.integers(0, 256, (height, width, 1), dtype=np.uint8).astype(np.float32)
    pixels += grain * np.float32(7.0 / 255.0) - np.float32(3.0)
    return np.clip(pixels, 0.0, 255.0).astype(np.uint8)
