"""Plots of how well blocks localise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cascade_clip.analysis.localization import Curve, Localization, Query
from cascade_clip.analysis.similarity import MEASURES
from cascade_clip.evaluation import plots

COLOURS: dict[Query, str] = {
    "seed patch": plots.LINE_COLOURS[0],
    "seed patch, projected": plots.LINE_COLOURS[3],
    "class name": plots.LINE_COLOURS[1],
}
MARKERS: dict[Query, str] = {
    "seed patch": "o",
    "seed patch, projected": "s",
    "class name": "D",
}
DASHES = ("-", "--")


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
        curve.blocks, values, DASHES[place % len(DASHES)], color=COLOURS[curve.query], lw=1.7,
        marker=MARKERS[curve.query], ms=4.5, mfc="white" if place else None,
    )  # fmt: skip


def _legend(found: Sequence[Curve], subjects: Sequence[str]) -> list[Line2D]:
    queries = list(dict.fromkeys(curve.query for curve in found))
    handles = [
        Line2D([], [], color=COLOURS[query], marker=MARKERS[query], ms=4.5, lw=1.7, label=query)
        for query in queries
    ]
    if len(subjects) > 1:
        handles += [
            Line2D([], [], color=plots.SOFT, ls=dashes, lw=1.7, label=subject)
            for subject, dashes in zip(subjects, cycle(DASHES))
        ]
    return handles
