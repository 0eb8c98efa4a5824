"""Heat maps of CKA between blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from cascade_clip.analysis.cka.compute import CKAResult
from cascade_clip.report import plots

Matrix = npt.NDArray[np.float64]
SIMILAR, CHANGED = "viridis", "PuOr_r"
MOST_NUMBERS = 13
"""Up to as many blocks, the last row carries its values."""


def heat_maps(result: CKAResult) -> Figure:
    """CKA between all blocks of one encoder: before training on the left, after it in the middle,
    and what changed on the right; a single map if there is but one subject.

    A frame marks how similar the last block is to the others, rings mark neighbouring blocks.
    """
    order = list(range(len(result.subjects)))[::-1]  # what it is held against comes first
    maps = [result.between(k, k).numpy() for k in order]
    columns = 1 if len(maps) == 1 else 3
    figure, axes = plots.panels(columns, (0.8 + 4.3 * columns, 4.6))
    low = min(0.9, math.floor(10 * min(np.nanmin(each) for each in maps)) / 10)
    encoders = axes[: len(maps)]
    for panel, place, matrix in zip(encoders, order, maps, strict=True):
        _heat_map(panel, matrix, result.blocks, SIMILAR, (low, 1.0), "{:.2f}")
        _title(panel, result.subjects[place])
    _bar(figure, encoders, SIMILAR, (low, 1.0), "linear CKA")
    if columns == 3:
        change = 100 * (maps[1] - maps[0])
        reach = max(1.0, float(np.nanmax(np.abs(change))))
        _heat_map(axes[2], change, result.blocks, CHANGED, (-reach, reach), "{:+.1f}")
        _title(axes[2], "change, in hundredths")
        _bar(figure, axes[2:], CHANGED, (-reach, reach), "100 x difference")
    return figure


def _heat_map(
    axes: Axes,
    matrix: Matrix,
    blocks: Sequence[int],
    colours: str,
    limits: tuple[float, float],
    form: str,
) -> None:
    count = len(blocks)
    axes.imshow(matrix, cmap=colours, vmin=limits[0], vmax=limits[1], origin="lower")
    step = max(1, count // 12)
    axes.set_xticks(range(0, count, step), [str(block) for block in blocks[::step]])
    axes.set_yticks(range(0, count, step), [str(block) for block in blocks[::step]])
    axes.set_xlabel("block")
    axes.set_ylabel("block", color=plots.SOFT, fontsize=9.5)
    axes.spines[:].set_visible(False)
    frame = Rectangle((-0.5, count - 1.5), count, 1, fill=False, ec="white", lw=2.2, clip_on=False)
    frame.set_path_effects([withStroke(linewidth=4.4, foreground=plots.INK)])
    axes.add_patch(frame)
    near = np.arange(count - 1)
    axes.plot([*near, *(near + 1)], [*(near + 1), *near], "o", ms=4.5, mfc="none", mec=plots.INK)
    if count <= MOST_NUMBERS:
        for column, value in enumerate(matrix[-1]):
            text = axes.text(
                column, count - 1, form.format(value), ha="center", va="center", fontsize=6.6,
                color="white",
            )  # fmt: skip
            text.set_path_effects([withStroke(linewidth=1.8, foreground=plots.INK)])


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, fontsize=10.5, color=plots.INK, loc="left")


def _bar(
    figure: Figure, axes: Sequence[Axes], colours: str, limits: tuple[float, float], label: str
) -> None:
    scale = ScalarMappable(Normalize(*limits), colours)
    bar = figure.colorbar(scale, ax=list(axes), shrink=0.82, pad=0.02, aspect=24)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, labelsize=8.5, labelcolor=plots.SOFT)
    bar.set_label(label, color=plots.SOFT, fontsize=9)
