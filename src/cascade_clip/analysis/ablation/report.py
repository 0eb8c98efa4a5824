"""Ablation results as a page, as Markdown and as plots."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from cascade_clip.analysis.ablation.runner import COLUMNS, AblationPlan, Row, runs_of
from cascade_clip.analysis.ablation.tables import TABLES, AblationTable
from cascade_clip.analysis.ablation.verdict import Measured, verdict
from cascade_clip.analysis.output import Folder
from cascade_clip.report import html, plots
from cascade_clip.support.messages import counted

IMAGES = "images"
LEAST_SPAN = 1.0
"""Points of hIoU that a plot shows at least."""
CAUTION = (
    "The default recipe stands on a CLIP that was taught by captions of drawn scenes, not on "
    "OpenAI's, and trains for minutes, not hours: an order found there need not transfer."
)


@dataclass(frozen=True)
class TableResult:
    """An ablation table with what was measured: for each variant one row per seed."""

    table: AblationTable
    rows: tuple[tuple[Row, ...], ...]

    def measured(self) -> list[Measured]:
        """hIoU by variant."""
        return [
            Measured(variant.name, tuple(row["h"] for row in rows), variant.published)
            for variant, rows in zip(self.table.variants, self.rows, strict=True)
        ]


def collect(plan: AblationPlan, table: AblationTable) -> TableResult:
    """What is measured of a table so far."""
    rows = []
    for variant in table.variants:
        results = [run.result() for run in runs_of(plan, variant)]
        rows.append(tuple(row for row in results if row is not None))
    return TableResult(table, tuple(rows))


def finished(plan: AblationPlan, tables: Sequence[AblationTable]) -> list[TableResult]:
    """The results of those tables whose runs are all done."""
    results = (collect(plan, table) for table in tables)
    return [result for result in results if all(len(r) == plan.seeds for r in result.rows)]


def cells(result: TableResult) -> tuple[list[str], list[list[str]]]:
    """Header and rows of texts: each metric as mean ± spread, and the published hIoU."""
    table = result.table
    published = [f"h, {table.published_on} (published)"] if table.published_on else []
    header = ["variant", *COLUMNS, *published]
    body = []
    for variant, rows in zip(table.variants, result.rows, strict=True):
        line = [variant.name, *(mean_and_spread([row[c] for row in rows]) for c in COLUMNS)]
        if published:
            line.append("–" if variant.published is None else f"{variant.published:.1f}")
        body.append(line)
    return header, body


def mean_and_spread(values: Sequence[float]) -> str:
    """`75.8 ± 0.8`; without the spread for a single value."""
    centre = f"{statistics.fmean(values):.1f}"
    return centre if len(values) < 2 else f"{centre} ± {statistics.stdev(values):.1f}"


def describe(plan: AblationPlan) -> str:
    """What all variants have in common."""
    return (
        f"{' '.join([plan.recipe, *plan.settings])}, {counted(plan.steps, 'step')}, "
        f"{counted(plan.seeds, 'seed')}, {counted(plan.pictures, 'test picture')}; percent"
        + (", mean ± standard deviation over seeds" if plan.seeds > 1 else "")
    )


def page(plan: AblationPlan, results: Sequence[TableResult]) -> str:
    """The self-contained HTML page."""
    sections = []
    for result in results:
        header, body = cells(result)
        figure = plots.png_of(dots(result))
        sections.append(
            html.section(
                result.table.title,
                html.table(header, body),
                html.figure(figure, "hIoU: each seed and the mean; beside it what was published."),
                *(html.paragraph(text, note=True) for text in _notes(result)),
            )
        )
    return html.page("Ablations", f"{describe(plan)}. {CAUTION}", sections)


def markdown(plan: AblationPlan, results: Sequence[TableResult], command: str) -> str:
    """The tables as a page of documentation, with the pictures of `write_figures` beside it."""
    title = f"Ablation: {results[0].table.title}" if len(results) == 1 else "Ablations"
    lines = [f"# {title}", "", "<!-- Written by the command at the end; don't edit. -->", ""]
    lines += [CAUTION, "", f"{describe(plan)}.", ""]
    shown = [result.table.name for result in results]
    left_out = [f"`{name}`" for name in TABLES if name not in shown]
    if left_out:
        lines += [f"Not measured for this page: {', '.join(left_out)}.", ""]
    for result in results:
        header, body = cells(result)
        lines += [f"## {result.table.title}", "", row(header), row(["---"] * len(header))]
        lines += [row(line) for line in body]
        lines += ["", f"![{result.table.title}]({IMAGES}/{_image(result)}.png)", ""]
        lines += [line for text in _notes(result) for line in (text, "")]
    typed = textwrap.wrap(command, 92, break_long_words=False, break_on_hyphens=False)
    lines += ["## How to measure it again", "", "```sh", " \\\n    ".join(typed), "```", ""]
    return "\n".join(lines)


def write_figures(folder: Path, results: Sequence[TableResult]) -> None:
    """Writes the plots that a Markdown page in `folder` shows. Raises `UserError` if it can't."""
    images = Folder(folder / IMAGES)
    for result in results:
        images.figure(_image(result), dots(result))


def _notes(result: TableResult) -> list[str]:
    """What a table needs to be said, if anything."""
    return [text for text in (verdict(result.measured()), result.table.note) if text]


def _image(result: TableResult) -> str:
    return f"ablations-{result.table.name}"


def row(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def dots(result: TableResult) -> Figure:
    """hIoU of each variant, seeds as small dots and their mean as a large one; published figures in
    a second panel, since they come from other data."""
    measured = result.measured()
    columns = 2 if result.table.published_on else 1
    size = (3.0 + 2.9 * columns, 0.9 + 0.34 * len(measured))
    figure, axes = plots.panels(columns, size, share_y=True)
    places = range(len(measured))[::-1]
    for place, variant in zip(places, measured, strict=True):
        axes[0].plot(
            variant.values, [place] * len(variant.values), "o", ms=4, color=plots.SOFT, alpha=0.6
        )
        axes[0].plot([variant.mean], [place], "o", ms=8, color=plots.LINE_COLOURS[0])
        if columns == 2 and variant.published is not None:
            axes[1].plot([variant.published], [place], "D", ms=7, color=plots.LINE_COLOURS[1])
    axes[0].set_yticks(list(places), [variant.name for variant in measured])
    axes[0].set_ylim(-0.6, len(measured) - 0.4)
    titles = ["hIoU here, percent", f"published hIoU, {result.table.published_on}"]
    for panel, title in zip(axes, titles[:columns], strict=True):
        panel.set_title(title, fontsize=10, color=plots.INK, loc="left")
        panel.grid(color=plots.GRID)
        panel.margins(x=0.12)
        low, high = panel.get_xlim()
        if high - low < LEAST_SPAN:  # differences of nothing should look so
            middle = (low + high) / 2
            panel.set_xlim(middle - LEAST_SPAN / 2, middle + LEAST_SPAN / 2)
        panel.ticklabel_format(axis="x", useOffset=False)
    return figure
