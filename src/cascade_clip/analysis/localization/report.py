"""Results of `analyze localization` as files, and in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cascade_clip.analysis.localization import plots
from cascade_clip.analysis.localization.compute import Curve, Localization, MapExample, Probe
from cascade_clip.analysis.localization.similarity import MEASURES
from cascade_clip.analysis.output import (
    Figures,
    Folder,
    Row,
    Setup,
    Summary,
    between,
    points,
)
from cascade_clip.report import html
from cascade_clip.support.messages import counted

SHORT = ("AP", "IoU", "F")
SHORT_QUERY: dict[Probe, str] = {
    "seed patch": "patch",
    "seed patch, projected": "proj.",
    "class name": "name",
}
JUDGED = (0, 2)
"""Measures by which the last two blocks are compared: average precision and boundary F."""


def write_localization(
    out: Path, result: Localization, examples: Sequence[MapExample], setup: Setup
) -> tuple[Summary, Path]:
    """Writes `localization.png`, `.csv`, `.json` and `.html`, `classes.csv` and `maps-N.png` for
    each subject; returns the summary and the page."""
    folder, summary = Folder(out), summarise(result)
    figure = folder.figure("localization", plots.curves(result))
    header = ("network", "query", "block", "measure", "mean", "low", "high")
    folder.table("localization", header, _means(result))
    folder.table("classes", ("network", "query", "block", "class", *MEASURES), _by_class(result))
    objects = {"objects": len(result.labels), "chance": result.shares.mean().item()}
    folder.summary("localization", setup, summary, objects)
    pictures = []
    subjects = list(examples[0].maps) if examples else []
    for number, name in enumerate(subjects, start=1):
        shown = folder.figure(f"maps-{number}", plots.similarity_maps(examples, name))
        pictures.append(html.figure(shown, name))
    caption = (
        f"Means over {counted(len(result.labels), 'object')}; bands: 95 % interval over pictures. "
        "Best IoU is that of the map cut where it fits best, so it needs the truth; boundary F is "
        "that of the same mask."
    )
    note = (
        "Cosine similarity of every patch to the marked one, which lies deepest inside the "
        "outlined object; colours from each map's 1st to its 97th percentile."
    )
    sections = [*summary.sections(), html.section("Curves", html.figure(figure, caption))]
    if pictures:
        sections.append(html.section("Similarity maps", html.paragraph(note), *pictures))
    return summary, folder.page("localization", "How well blocks localise", setup, sections)


def summarise(result: Localization) -> Summary:
    """The first subject's measures by block, and how its last blocks compare."""
    name = result.curves[0].subject
    own = [curve for curve in result.curves if curve.subject == name]
    header = ["block", *(f"{SHORT_QUERY[curve.query]} {kind}" for curve in own for kind in SHORT)]
    rows = []
    for block in own[0].blocks:
        cells = [f"{block}"]
        for curve in own:
            if block in curve.blocks:
                means = curve.means()[curve.blocks.index(block)]
                cells += [f"{100 * value:.1f}" for value in means.tolist()]
            else:
                cells += ["–"] * len(SHORT)
        rows.append(tuple(cells))
    figures = [
        _compare_last(curve, measure, result)
        for curve in own
        for measure in JUDGED
        if len(curve.blocks) > 1
    ]
    return Summary(
        f"{name}, block by block",
        tuple(header),
        tuple(rows),
        tuple(figures),
        f"Percent, means over {counted(len(result.labels), 'object')} in "
        f"{counted(len(result.pictures.unique()), 'picture')}. Similarity to a patch of the "
        "object, by tokens (patch) or projections (proj.), or to the class name. AP: average "
        "precision of the similarity map; IoU: of the map cut where it fits best; F: boundary "
        "F-score of that mask. A map that knows nothing has "
        f"{100 * result.shares.mean().item():.1f} AP and IoU.",
    )


def _compare_last(curve: Curve, measure: int, result: Localization) -> Figures:
    before, last = curve.blocks[-2:]
    gap, spread = (part[..., measure] for part in curve.difference(before, last, result.pictures))
    what = f"{curve.query}, {MEASURES[measure]}: block {before} minus block {last}"
    return what, points(gap.item()), between(*spread.tolist())


def _means(result: Localization) -> Iterator[Row]:
    for curve in result.curves:
        means, (low, high) = curve.means().tolist(), curve.intervals(result.pictures).tolist()
        for row, block in enumerate(curve.blocks):
            for column, measure in enumerate(MEASURES):
                values = (means[row][column], low[row][column], high[row][column])
                yield curve.subject, curve.query, block, measure, *values


def _by_class(result: Localization) -> Iterator[Row]:
    for curve in result.curves:
        for label in result.labels.unique().tolist():
            members = curve.scores[:, result.labels == label].mean(dim=1)  # (blocks, 3)
            for block, values in zip(curve.blocks, members.tolist(), strict=True):
                yield curve.subject, curve.query, block, result.classes.names[label], *values
