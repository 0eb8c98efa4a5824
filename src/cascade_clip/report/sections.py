"""Sections of a report about one or several methods on one data set."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image

from cascade_clip.config.recipes import flatten
from cascade_clip.data.classes import ClassSet
from cascade_clip.evaluation.examples import Example, Labels, Rows
from cascade_clip.evaluation.metrics import (
    NOTHING_COUNTS,
    Metrics,
    harmonic_mean,
    nothing_counts,
)
from cascade_clip.io.files import write_text
from cascade_clip.io.overlay import paint_labels
from cascade_clip.io.palette import IGNORED, class_colours, to_hex
from cascade_clip.report import html, plots
from cascade_clip.support.messages import some_of


@dataclass(frozen=True)
class Scores:
    """mIoU of seen and unseen classes among some of the classes, and their harmonic mean."""

    seen: float
    unseen: float
    harmonic: float


def group_scores(metrics: Metrics, names: Collection[str], unseen: Collection[str]) -> Scores:
    """Scores over the classes `names` alone; pixels still compete among all classes."""
    seen_mean = _mean(metrics.iou_per_class[name] for name in names if name not in unseen)
    unseen_mean = _mean(metrics.iou_per_class[name] for name in names if name in unseen)
    return Scores(seen_mean, unseen_mean, harmonic_mean(seen_mean, unseen_mean))


def metrics_section(
    rows: Rows, classes: ClassSet, groups: Mapping[str, Collection[str]] | None = None
) -> str:
    """The table of methods: pAcc, mIoU, S, U, h; for each group of classes its S and U."""
    groups = groups or {}
    header = ["method", "pAcc", "mIoU", "S", "U", "h"]
    header += [f"{group} {kind}" for group in groups for kind in ("S", "U")]
    body = []
    for method, m in rows.items():
        values = [m.pixel_accuracy, m.miou, m.miou_seen, m.miou_unseen, m.hiou]
        for names in groups.values():
            scores = group_scores(m, names, classes.unseen)
            values += [scores.seen, scores.unseen]
        body.append([method, *map(percent, values)])
    left_out = _left_out(rows, classes)
    over = f"the {len(classes.seen)} seen and {len(classes.unseen)} unseen classes"
    if left_out:
        over = "the seen and unseen classes that are in the truth or predicted"
    note = (
        f"Percent. pAcc: pixels right; S, U: mean IoU over {over}, every pixel competing among all "
        "classes; h: harmonic mean of S and U. Best in bold."
    )
    nothing = [NOTHING_COUNTS.capitalize() + "."] if nothing_counts(rows.values()) else []
    lines = (note, *nothing, *left_out, *_absent(rows))
    notes = [html.paragraph(line, note=True) for line in lines]
    return html.section("Results", html.table(header, body, best=True), *notes)


def _left_out(rows: Rows, classes: ClassSet) -> list[str]:
    """How many classes the means are over, where some have no IoU: a sentence for each count."""
    by_counts: dict[str, list[str]] = {}
    some = False
    for method, m in rows.items():
        known = {name for name, iou in m.iou_per_class.items() if not math.isnan(iou)}
        some |= len(known) < len(classes.names)
        counts = f"S is over {len(known & {*classes.seen})} of {len(classes.seen)} seen classes"
        if classes.unseen:
            unseen = len(known & {*classes.unseen})
            counts += f", U over {unseen} of {len(classes.unseen)} unseen ones"
        by_counts.setdefault(counts, []).append(method)
    if not some:
        return []
    return [f"{_named(methods, rows)}{counts}." for counts, methods in by_counts.items()]


def _absent(rows: Rows) -> list[str]:
    """Which classes have an IoU of 0 because the truth lacks them: a sentence for each set."""
    by_names: dict[tuple[str, ...], list[str]] = {}
    for method, m in rows.items():
        if m.predicted_only:
            by_names.setdefault(m.predicted_only, []).append(method)
    return [
        f"{_named(methods, rows)}Predicted, but not in the truth, so that the IoU is 0: "
        f"{some_of(names)}."
        for names, methods in by_names.items()
    ]


def _named(methods: Sequence[str], rows: Rows) -> str:
    """Whom a sentence is about, unless it is about all."""
    return "" if len(methods) == len(rows) else f"{', '.join(methods)}: "


def classes_section(rows: Rows, classes: ClassSet) -> str:
    """Bars of the IoU per class."""
    figure = plots.iou_bars({m: row.iou_per_class for m, row in rows.items()}, classes.unseen)
    caption = "IoU by class."
    if len(rows) > 1:
        caption += " Bars: the first method; open marks: the others."
    if classes.unseen:
        caption += " Masks of unseen classes were withheld."
    return html.section("Per class", html.figure(plots.png_of(figure), caption))


def curves_section(
    runs: Mapping[str, Sequence[Mapping[str, float]]],
    columns: Sequence[str] = ("loss", "val_S", "val_U"),
) -> str:
    """Training curves of one or several runs."""
    figure = plots.training_curves(runs, columns)
    return html.section("Training", html.figure(plots.png_of(figure), "Over training steps."))


def pictures_section(
    title: str,
    note: str,
    examples: Sequence[Example],
    classes: ClassSet,
    *,
    errors_of: str | None = None,
) -> str:
    """Scene, truth and every prediction in class colours, with the share of right pixels.

    `errors_of` names the method whose errors are shown in a last column.
    """
    colours = class_colours(classes.names)
    methods = list(examples[0].predictions) if examples else []
    columns = ["picture", "truth", *methods, *(["errors"] if errors_of else [])]
    rows = []
    for example in examples:
        shots = [
            html.Shot(Image.fromarray(example.image), pixels=False),
            html.Shot(paint_labels(example.truth, colours, other=IGNORED)),
        ]
        for method in methods:
            painted = paint_labels(example.predictions[method], colours)
            shots.append(html.Shot(painted, f"{percent(example.accuracy(method))} % right"))
        if errors_of:
            errors = plots.error_map(example.predictions[errors_of], example.truth, example.ignored)
            shots.append(html.Shot(errors))
        rows.append(shots)
    present = sorted({int(label) for e in examples for label in np.unique(_all_labels(e))})
    shown = [index for index in present if index < len(classes.names)]
    legend = [(classes.names[index], to_hex(colours[index])) for index in shown]
    return html.section(
        title,
        html.paragraph(note),
        html.colour_legend(legend, strong=classes.unseen),
        html.paragraph("Unseen classes in bold.", note=True) if classes.unseen else "",
        html.picture_table(columns, rows),
    )


def settings_section(
    settings: Mapping[str, Mapping[str, Any]],
    timings: Mapping[str, float],
    environment: Mapping[str, Any],
) -> str:
    """Timings openly; settings by run (nested values) and versions behind a click."""
    shown = {name: f"{seconds:.1f} s" for name, seconds in timings.items()}
    parts = [html.facts(shown)]
    parts += [
        html.details(f"Settings: {name}", html.facts(flatten(values)))
        for name, values in settings.items()
    ]
    parts.append(html.details("Versions and machine", html.facts(flatten(environment))))
    return html.section("Timings, settings, versions", *parts)


def write_report(path: Path, title: str, lead: str, sections: Sequence[str]) -> Path:
    """Writes the page; it needs nothing but itself. Raises `UserError` if it can't be written."""
    text = html.page(title, lead, sections)
    return write_text(path, text)


def read_history(path: Path) -> list[dict[str, float]]:
    """Rows of a run's `metrics.csv`, without empty cells."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: float(value) for key, value in row.items() if value}
            for row in csv.DictReader(file)
        ]


def percent(value: float) -> str:
    """`12.3` for 0.123, a dash for NaN."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def _all_labels(example: Example) -> Labels:
    return np.concatenate([m.ravel() for m in (example.truth, *example.predictions.values())])


def _mean(values: Any) -> float:
    known = [value for value in values if not math.isnan(value)]
    return fmean(known) if known else math.nan
