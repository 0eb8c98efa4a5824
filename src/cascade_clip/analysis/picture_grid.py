"""Pictures in rows and columns."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def picture_grid(rows: int, columns: int, cell: float) -> tuple[Figure, list[list[Axes]]]:
    """Pictures without axes, close to each other; `cell` is the side of one in inches."""
    figure = Figure(figsize=(cell * columns, 1.1 * cell * rows + 0.35), dpi=110)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)
    grid = figure.subplots(rows, columns, squeeze=False)
    for panel in grid.flat:
        panel.set_axis_off()
    return figure, grid.tolist()
