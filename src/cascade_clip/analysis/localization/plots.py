"""Plots of how well blocks localise, and pictures of their similarity maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cascade_clip.analysis.localization.compute import Curve, Localization, MapExample, Probe
from cascade_clip.analysis.localization.similarity import MEASURES
from cascade_clip.analysis.picture_grid import picture_grid
from cascade_clip.report import plots

COLOURS: dict[Probe, str] = {
    "seed patch": plots.LINE_COLOURS[0],
    "seed patch, projected": plots.LINE_COLOURS[3],
    "class name": plots.LINE_COLOURS[1],
}
MARKERS: dict[Probe, str] = {
    "seed patch": "o",
    "seed patch, projected": "s",
    "class name": "D",
}
DASHES = ("-", "--")
FILLS = (None, "white")
"""Of marks, by subject, as `DASHES`."""
SIMILARITY = "viridis"
CROSS = "#D55E00"


def curves(result: Localization) -> Figure:
    """Each measure over the blocks, with the 95 % interval of the first subject as a band; colour
    and mark say what patches are compared with, full and broken lines which subject it is."""
    figure, axes = plots.panels(len(MEASURES), (4.1 * len(MEASURES), 4.0))
    subjects = list(dict.fromkeys(curve.subject for curve in result.curves))
    for curve in result.curves:
        means = 100 * curve.means().numpy()
        spread = 100 * curve.intervals(result.pictures).numpy()
        place = subjects.index(curve.subject)
        for measure, panel in enumerate(axes):
            _line(panel, curve, means[:, measure], place)
            if place == 0:
                panel.fill_between(
                    curve.blocks, spread[0, :, measure], spread[1, :, measure],
                    color=COLOURS[curve.query], alpha=0.16, lw=0,
                )  # fmt: skip
    for name, panel in zip(MEASURES, axes, strict=True):
        panel.set_title(f"{name}, percent", fontsize=10.5, color=plots.INK, loc="left")
        panel.set_xlabel("block")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
        panel.grid(color=plots.GRID)
    figure.legend(
        handles=_legend(result.curves, subjects), loc="outside lower center", ncols=6,
        frameon=False, fontsize=9,
    )  # fmt: skip
    return figure


def _line(axes: Axes, curve: Curve, values: npt.NDArray[np.float64], place: int) -> None:
    axes.plot(
        curve.blocks, values, DASHES[place], color=COLOURS[curve.query], lw=1.7,
        marker=MARKERS[curve.query], ms=4.5, mfc=FILLS[place],
    )  # fmt: skip


def _legend(found: Sequence[Curve], subjects: Sequence[str]) -> list[Line2D]:
    queries = list(dict.fromkeys(curve.query for curve in found))
    handles = [
        Line2D([], [], color=COLOURS[query], marker=MARKERS[query], ms=4.5, lw=1.7, label=query)
        for query in queries
    ]
    if len(subjects) > 1:
        styles = zip(subjects, DASHES, FILLS, strict=True)
        handles += [
            Line2D(
                [], [], c=plots.SOFT, lw=1.7, ls=dashes, marker="o", ms=4.5, mfc=fill, label=name
            )
            for name, dashes, fill in styles
        ]
    return handles


def similarity_maps(examples: Sequence[MapExample], subject: str) -> Figure:
    """One row for each chosen patch: the picture with the patch (cross) and its object (outline),
    then the cosine similarity of all patches to it, block by block. Colours of a map go from its
    1st to its 97th percentile, since the patch itself is always at 1."""
    blocks = list(examples[0].maps[subject])
    columns = 1 + len(blocks)
    figure, grid = picture_grid(len(examples), columns, cell=0.98)
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
