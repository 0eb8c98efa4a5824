"""Results of `analyze cka` as files, and in words."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from pathlib import Path

from cascade_clip.analysis.cka import plots
from cascade_clip.analysis.cka.compute import CKAResult, Features
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

FEATURES: dict[Features, str] = {
    "patches": "all patch tokens of a picture, strung together",
    "mean": "the mean over the patch tokens of a picture",
    "class-token": "the class token of a picture",
}


def write_cka(
    out: Path, result: CKAResult, features: Features, setup: Setup
) -> tuple[Summary, Path]:
    """Writes `cka.png`, `cka.csv`, `cka.json` and `cka.html`; returns the summary and the page."""
    folder, summary = Folder(out), summarise(result)
    figure = folder.figure("cka", plots.heat_maps(result))
    folder.table("cka", ("first", "block", "second", "block", "cka"), _pairs(result))
    numbers = {"features": features, "batches": len(result.hsic), "blocks": list(result.blocks)}
    folder.summary("cka", setup, summary, numbers)
    caption = (
        f"Linear CKA between blocks; features: {FEATURES[features]}. Frame: the last block with "
        "all others. Rings: neighbouring blocks."
    )
    method = (
        f"Unbiased HSIC of {counted(len(result.hsic), 'batch')} of pictures (Song et al. 2012; "
        "Nguyen, Raghu and Kornblith 2021). Each picture gives one window from its middle."
    )
    sections = [
        *summary.sections(),
        html.section("Heat maps", html.figure(figure, caption), html.paragraph(method, note=True)),
    ]
    return summary, folder.page(
        "cka", "CKA between the blocks of the image encoder", setup, sections
    )


def summarise(result: CKAResult) -> Summary:
    """How similar the last block is to the others, and neighbours to each other."""
    last = result.blocks[-1]
    rows = []
    for place, name in list(enumerate(result.subjects))[::-1]:
        values = result.last_with_others(place), result.neighbours(place)
        rows.append((name, *("–" if isnan(value) else f"{value:.3f}" for value in values)))
    note = "Mean linear CKA, -1 to 1; its difference in hundredths."
    if len(result.blocks) == 1:
        note += " With one block there is no pair of blocks within a network to compare."
    if bool(result.matrix.isnan().any()):
        note += " Features that don't vary between pictures have no CKA and are left out."
    return Summary(
        "Similarity of blocks",
        ("network", f"block {last} with the others", "neighbouring blocks"),
        tuple(rows),
        tuple(_figures(result)),
        note,
    )


def _figures(result: CKAResult) -> Iterator[Figures]:
    if len(result.subjects) < 2:
        return

    def gap(found: CKAResult) -> float:
        return found.last_with_others(0) - found.last_with_others(1)

    if len(result.blocks) > 1:
        what = f"block {result.blocks[-1]} with the others, minus that of {result.subjects[1]}"
        yield what, points(gap(result), 2), between(*result.interval(gap), 2)
    across = result.between(0, 1).diagonal()
    if not bool(across.isnan().any()):
        moved = int(across.argmin())
        what = f"block that differs most between the two, {result.blocks[moved]}: CKA with itself"
        yield what, f"{across[moved].item():.3f}", ""


def _pairs(result: CKAResult) -> Iterator[Row]:
    labels = [(name, block) for name in result.subjects for block in result.blocks]
    for (first, row), values in zip(labels, result.matrix.tolist(), strict=True):
        for (second, column), value in zip(labels, values, strict=True):
            yield first, row, second, column, value
