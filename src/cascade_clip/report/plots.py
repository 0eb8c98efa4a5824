"""Plots and pictures for reports. Figures are built without matplotlib's global state."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Mapping, Sequence
from itertools import cycle

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from cascade_clip.data.labels import IGNORE
from cascade_clip.io.palette import IGNORED, SEEN_COLOUR, UNSEEN_COLOUR

INK, SOFT, GRID = "#24292f", "#6b7480", "#e4e7eb"
RIGHT, WRONG = (222, 228, 236), (200, 60, 50)
# Ordered by lightness as well as by hue, so that lines can be told apart in grey too.
LINE_COLOURS = ("#1F5F9E", "#D9822B", "#3E8E6E", "#A04C79", "#6B7480")
MARKERS = ("o", "D", "s", "^", "v")


def iou_bars(
    iou: Mapping[str, Mapping[str, float]], unseen: Collection[str], order: Sequence[str] = ()
) -> Figure:
    """IoU per class: bars for the first method, marks for the others.

    `iou` holds for each method its IoU (0..1, NaN if undefined) by class name. Classes are sorted
    within seen and unseen ones by the first method's IoU, unless `order` gives their order.
    """
    main, *others = iou
    names = list(order) or _sorted_classes(iou[main], unseen)
    figure, axes = _figure(8.6, 1.1 + 0.235 * len(names))
    positions = np.arange(len(names))[::-1]
    values = [_percent(iou[main][name]) for name in names]
    colours = [UNSEEN_COLOUR if name in unseen else SEEN_COLOUR for name in names]
    axes.barh(positions, np.nan_to_num(values), height=0.68, color=colours, zorder=2)
    for position, value in zip(positions, values, strict=True):
        # Marks of other methods would hide a number within its bar.
        inside = value >= 12 and not others
        axes.text(
            value - 1 if inside else 103 if others else np.nan_to_num(value) + 1.5,
            position,
            "absent" if math.isnan(value) else f"{value:.0f}",
            va="center",
            ha="right" if inside else "left",
            color="white" if inside else INK if others else SOFT,
            fontsize=9,
            zorder=4,
        )
    for method, marker in zip(others, cycle(MARKERS)):
        axes.plot(
            [_percent(iou[method][name]) for name in names],
            positions,
            marker,
            markersize=5.5,
            markerfacecolor="white",
            markeredgecolor=INK,
            linestyle="none",
            clip_on=False,
            zorder=3,
        )
    axes.set_yticks(positions, names)
    axes.set_xlim(0, 100)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_xlabel("IoU, percent")
    axes.grid(axis="x", color=GRID, zorder=0)
    _bar_legend(axes, main, others)
    return figure


def training_curves(
    runs: Mapping[str, Sequence[Mapping[str, float]]], columns: Sequence[str] = ("loss", "val_h")
) -> Figure:
    """One panel for each column of the runs' logs over the training step, one line for each run.

    Rows without a value in a column are skipped.
    """
    titles = {
        "loss": "training loss",
        "lr": "learning rate",
        "val_S": "validation mIoU, seen (percent)",
        "val_U": "validation mIoU, unseen (percent)",
        "val_h": "validation hIoU (percent)",
    }
    figure, axes_of_columns = panels(len(columns), (4.6 * len(columns), 3.1))
    for axes, column in zip(axes_of_columns, columns, strict=True):
        scale = 100.0 if column.startswith("val_") else 1.0
        for (name, rows), colour in zip(runs.items(), cycle(LINE_COLOURS)):
            points = [(r["step"], scale * r[column]) for r in rows if column in r]
            marker = "o" if len(points) < 15 else ""
            steps, values = [p[0] for p in points], [p[1] for p in points]
            axes.plot(steps, values, color=colour, label=name, lw=1.8, marker=marker, ms=4)
        axes.set_title(titles.get(column, column), fontsize=10.5, color=INK, loc="left")
        axes.set_xlabel("step")
        axes.grid(color=GRID)
        axes.margins(x=0.02)
    if any(runs.values()):
        axes_of_columns[0].legend(frameon=False, fontsize=9)
    return figure


def error_map(
    labels: npt.NDArray[np.integer], truth: npt.NDArray[np.integer], ignored: int = IGNORE
) -> Image.Image:
    """Where prediction and truth (H, W) differ: wrong pixels red, right ones pale, ignored ones
    nearly white."""
    colours = np.where((labels == truth)[..., None], RIGHT, WRONG)  # (H, W, 3)
    colours[truth == ignored] = IGNORED
    return Image.fromarray(colours.astype(np.uint8))


def png_of(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def panels(
    columns: int, size: tuple[float, float], share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """Plots side by side in the style of the reports; `size` is that of the figure in inches."""
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, columns, squeeze=False, sharey=share_y)[0])
    for panel in axes:
        _style(panel)
    return figure, axes


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure, (axes,) = panels(1, (width, height))
    return figure, axes


def _style(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(length=0, labelsize=9.5, labelcolor=INK)
    axes.xaxis.label.set(color=SOFT, fontsize=9.5)
    axes.set_axisbelow(True)


def _bar_legend(axes: Axes, main: str, others: Sequence[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Patch | Line2D] = [
        Patch(color=SEEN_COLOUR, label=f"{main}, seen class"),
        Patch(color=UNSEEN_COLOUR, label=f"{main}, unseen class"),
    ]
    handles += [
        Line2D([], [], marker=m, ls="none", mfc="white", mec=INK, ms=5.5, label=name)
        for name, m in zip(others, cycle(MARKERS))
    ]
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        handletextpad=0.5,
        columnspacing=1.4,
    )


def _sorted_classes(iou: Mapping[str, float], unseen: Collection[str]) -> list[str]:
    def key(name: str) -> tuple[bool, float]:
        return name in unseen, -np.nan_to_num(iou[name], nan=-1.0)

    return sorted(iou, key=key)


def _percent(value: float) -> float:
    return 100.0 * value
