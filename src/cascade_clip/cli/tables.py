"""Tables on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.table import Table

from cascade_clip.data.classes import ClassSet
from cascade_clip.evaluation.metrics import Metrics


def summary_table(rows: Mapping[str, Metrics]) -> Table:
    """One row per method: pAcc, mIoU, S, U, h in percent."""
    table = Table(title="percent; S, U: mIoU of seen, unseen classes; h: their harmonic mean")
    table.add_column("method")
    for column in ("pAcc", "mIoU", "S", "U", "h"):
        table.add_column(column, justify="right")
    for name, m in rows.items():
        values = (m.pixel_accuracy, m.miou, m.miou_seen, m.miou_unseen, m.hiou)
        table.add_row(name, *map(percent, values))
    return table


def class_table(rows: Mapping[str, Metrics], classes: ClassSet) -> Table:
    """One row per class: its IoU with each method, in percent."""
    table = Table(title="IoU per class, percent")
    table.add_column("class")
    table.add_column("")
    for name in rows:
        table.add_column(name, justify="right")
    for name in classes.names:
        values = [percent(m.iou_per_class[name]) for m in rows.values()]
        table.add_row(name, "unseen" if name in classes.unseen else "seen", *values)
    return table


def percent(value: float) -> str:
    """`12.3` for 0.123, `-` for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
