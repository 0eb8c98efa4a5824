"""Draws the pictures of the README with the embedded model: `python -m scripts.readme_pictures`."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Patch
from PIL import Image

from cascade_clip import Segmenter
from cascade_clip.evaluation.stages import StageView, stage_names
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.picturebook import CLASSES, draw_scene
from cascade_clip.segmentation import Segmentation

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SIDE = 288
BOOK = 20_003
"""A book that neither training nor any evaluation reads."""
PAGES = range(12)
SHOWN_PAGE = 1
"""The scene beside the picture of the method."""
INK, TEXT = "#24292f", "#3b6ea5"


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    segmenter = Segmenter.from_pretrained("picturebook")
    draw_method(segmenter).savefig(IMAGES / "method.png", dpi=120)
    scenes = [draw_scene(BOOK, page, SIDE).image for page in PAGES]
    masks = [
        np.asarray(segmenter(scene, CLASSES).overlay(opacity=0.75, legend=False))
        for scene in scenes
    ]
    rows = [np.concatenate(row, axis=1) for row in (scenes[:6], masks[:6], scenes[6:], masks[6:])]
    Image.fromarray(np.concatenate(rows)).save(IMAGES / "picturebook.jpg", quality=88)
    example = segmenter(
        Path(__file__).parents[1] / "examples" / "scene.png", "cat, house, grass, sky"
    )
    example.save(IMAGES / "scene-masks.png")


def draw_method(segmenter: Segmenter) -> Figure:
    """A scene, what each stage makes of it, and the masks."""
    scene = draw_scene(BOOK, SHOWN_PAGE, SIDE)
    names = [name for name in CLASSES if name in {item.name for item in scene.items}]
    network = cast(SegmentationNetwork, segmenter.network)
    whole = segmenter(scene.image, names)
    stages = [
        Segmenter(StageView(network, stage), segmenter.clip, segmenter.trained_classes,
                  segmenter.recipe, templates=segmenter.templates)(scene.image, names)
        for stage in range(len(stage_names(network)))
    ]  # fmt: skip
    figure = Figure(figsize=(10, 3.5))
    FigureCanvasAgg(figure)
    picture = panel(figure, (0.01, 0.16, 0.24, 0.68), scene.image, "picture")
    middle = [
        panel(figure, (0.405, 0.69 - 0.325 * row, 0.09, 0.24), coloured(result), name)
        for row, (name, result) in enumerate(zip(stage_names(network), stages, strict=True))
    ]
    masks = panel(figure, (0.585, 0.16, 0.24, 0.68), coloured(whole), "masks")
    for axes in middle:
        connect(figure, picture, (1, 0.5), axes, (0, 0.5))
        connect(figure, axes, (1, 0.5), masks, (0, 0.5))
    figure.text(0.55, 0.53, "+", ha="center", fontsize=15, color=INK)
    figure.text(
        0.33, 0.04, "CLIP's image encoder,\nfrozen, with prompts", ha="center", fontsize=8.5
    )
    figure.text(0.3, 0.81, "names attend\nto patches", ha="center", fontsize=8.5, color=TEXT)
    handles = [
        Patch(color=np.array(entry.colour) / 255, label=entry.name + ("" if entry.seen else " *"))
        for entry in whole.legend
    ]
    figure.legend(handles=handles, loc="center left", bbox_to_anchor=(0.835, 0.53), frameon=False)
    figure.text(0.845, 0.13, "* no masks of it\n  in training", fontsize=8.5)
    return figure


def coloured(result: Segmentation) -> np.ndarray:
    """A result as colours over its picture."""
    return np.asarray(result.overlay(opacity=0.75, legend=False))


def panel(
    figure: Figure, place: tuple[float, float, float, float], image: np.ndarray, title: str
) -> Axes:
    axes = figure.add_axes(place)
    axes.imshow(image)
    axes.set_axis_off()
    axes.set_title(title, fontsize=9.5, color=INK)
    return axes


def connect(
    figure: Figure, first: Axes, start: tuple[float, float], second: Axes, end: tuple[float, float]
) -> None:
    figure.add_artist(
        ConnectionPatch(
            start,
            end,
            "axes fraction",
            "axes fraction",
            axesA=first,
            axesB=second,
            arrowstyle="-|>",
            color=INK,
            shrinkA=3,
            shrinkB=3,
            linewidth=0.9,
        )
    )


if __name__ == "__main__":
    main()
