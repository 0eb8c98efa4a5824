"""Pictures in rows: similarity maps of chosen patches, and masks of single stages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from cascade_clip.analysis.localization import MapExample
from cascade_clip.data.classes import ClassSet
from cascade_clip.evaluation import plots
from cascade_clip.evaluation.report import Example
from cascade_clip.overlay import paint_labels
from cascade_clip.palette import IGNORED, class_colours, to_hex

SIMILARITY = "viridis"
CROSS = "#D55E00"


def similarity_maps(examples: Sequence[MapExample], subject: str) -> Figure:
    """One row for each chosen patch: the picture with the patch (cross) and its object (outline),
    then the cosine similarity of all patches to it, block by block. Colours of a map go from its
    1st to its 97th percentile, since the patch itself is always at 1."""
    blocks = list(examples[0].maps[subject])
    columns = 1 + len(blocks)
    figure, grid = _grid(len(examples), columns, cell=0.98)
    for row, example in zip(grid, examples, strict=True):
        side = example.image.shape[0]
        for panel, block in zip(row, [None, *blocks], strict=True):
            if block is None:
                panel.imshow(example.image)
            else:
                values = example.maps[subject][block].numpy()
                low, high = np.quantile(values, [0.01, 0.97])
                panel.imshow(
                    values, cmap=SIMILARITY, vmin=low, vmax=high, interpolation="bilinear",
                    extent=(0, side, side, 0),
                )  # fmt: skip
            panel.contour(
                np.arange(side) + 0.5, np.arange(side) + 0.5, example.mask.numpy(), levels=[0.5],
                colors="white", linewidths=0.9,
            )  # fmt: skip
            panel.plot(*example.seed, "P", ms=6, mfc=CROSS, mec="white", mew=0.8)
            panel.set_xlim(0, side)
            panel.set_ylim(side, 0)
        row[0].set_title(example.name, fontsize=9, color=plots.INK)
    for panel, block in zip(grid[0][1:], blocks, strict=True):
        panel.set_title(f"block {block}", fontsize=9, color=plots.INK)
    return figure


def stage_pictures(examples: Sequence[Example], classes: ClassSet) -> Figure:
    """One row for each picture: picture, truth, then the labels that each version of the network
    gives, in class colours; below them the classes that occur, unseen ones in italics."""
    colours = class_colours(classes.names)
    names = list(examples[0].predictions)
    figure, grid = _grid(len(examples), 2 + len(names), cell=1.25)
    present: set[int] = set()
    for row, example in zip(grid, examples, strict=True):
        row[0].imshow(example.image)
        row[1].imshow(paint_labels(example.truth, colours, other=IGNORED))
        for panel, name in zip(row[2:], names, strict=True):
            panel.imshow(paint_labels(example.predictions[name], colours))
        for labels in (example.truth, *example.predictions.values()):
            present.update(np.unique(labels).tolist())
    for panel, title in zip(grid[0], ["picture", "truth", *names], strict=True):
        lines = title.replace("without ", "without\n").replace(" alone", "\nalone")
        panel.set_title(lines, fontsize=9, color=plots.INK)
    shown = sorted(label for label in present if label < len(classes.names))
    handles = [Patch(color=to_hex(colours[label]), label=classes.names[label]) for label in shown]
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=8, frameon=False, fontsize=8.5
    )
    for text in legend.get_texts():
        text.set_fontstyle("italic" if text.get_text() in classes.unseen else "normal")
    return figure


def _grid(rows: int, columns: int, cell: float) -> tuple[Figure, list[list[Axes]]]:
    """Pictures without axes, close to each other; `cell` is the side of one in inches."""
    figure = Figure(figsize=(cell * columns, 1.1 * cell * rows + 0.35), dpi=110)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)
    grid = figure.subplots(rows, columns, squeeze=False)
    for panel in grid.flat:
        panel.set_axis_off()
    return figure, grid.tolist()
