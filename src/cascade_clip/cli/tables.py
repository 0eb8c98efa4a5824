"""Tables on the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from cascade_clip.data.classes import ClassSet
from cascade_clip.evaluation.metrics import NOTHING_COUNTS, Metrics, nothing_counts

if TYPE_CHECKING:
    from cascade_clip.training.seeds import SeedSummary

SPLIT_MEANING = "S, U: mIoU of seen, unseen classes"


def summary_table(rows: Mapping[str, Metrics], meaning: str = SPLIT_MEANING) -> Table:
    """One row per method: pAcc, mIoU, S, U, h in percent; `meaning` says what S and U are."""
    table = Table(title=f"percent; {meaning}; h: their harmonic mean")
    table.add_column("method")
    for column in ("pAcc", "mIoU", "S", "U", "h"):
        table.add_column(column, justify="right")
    for name, m in rows.items():
        values = (m.pixel_accuracy, m.miou, m.miou_seen, m.miou_unseen, m.hiou)
        table.add_row(name, *map(percent, values))
    if nothing_counts(rows.values()):
        table.caption = NOTHING_COUNTS
    return table


def class_table(rows: Mapping[str, Metrics], classes: ClassSet) -> Table:
    """One row per class: its IoU with each method, in percent."""
    table = Table(title="IoU per class, percent")
    table.add_column("class")
    table.add_column("")
    for name in rows:
        table.add_column(name, justify="right")
    for name in classes.names:
        marks = ["*" if name in m.predicted_only else "" for m in rows.values()]
        values = [percent(m.iou_per_class[name]) for m in rows.values()]
        shown = map("".join, zip(values, marks, strict=True))
        table.add_row(name, "unseen" if name in classes.unseen else "seen", *shown)
    if any(m.predicted_only for m in rows.values()):
        table.caption = "* in no mask, but predicted: counts as 0 in the means"
    return table


def seeds_table(summary: SeedSummary) -> Table:
    """One row per seed and one with mean ± spread, in percent."""
    table = Table(title=f"percent, test part; {SPLIT_MEANING}; h: their harmonic mean")
    table.add_column("seed")
    for column in ("pAcc", "mIoU", "S", "U", "h"):
        table.add_column(column, justify="right")
    for seed, result in summary.per_seed.items():
        table.add_row(str(seed), *(_percent(value) for value in result.values()))
    pairs = zip(summary.mean.values(), summary.spread.values(), strict=True)
    both = (
        _percent(mean) if spread is None else f"{_percent(mean)} ± {_percent(spread)}"
        for mean, spread in pairs
    )
    table.add_section()
    table.add_row("mean ± spread", *both)
    return table


def percent(value: float) -> str:
    """`12.3` for 0.123, `-` for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _percent(value: float | None) -> str:
    return percent(math.nan if value is None else value)
