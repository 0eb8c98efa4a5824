"""Results of `analyze cka` as files, and in words."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from pathlib import Path

import torch

from cascade_clip.analysis.cka import plots
from cascade_clip.analysis.cka.compute import CKAResult, Features
from cascade_clip.analysis.output import (
    Folder,
    Row,
    Setup,
    Summary,
    points,
    points_between,
    settled,
)
from cascade_clip.analysis.subjects import RAW_NAME
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
    sentences = []
    if len(result.blocks) == 1:
        sentences.append("With one block there is no pair of blocks within a network to compare.")
    if len(result.subjects) == 2:
        sentences += [_change(result)] if len(result.blocks) > 1 else []
        across = result.between(0, 1).diagonal()
        if not bool(across.isnan().any()):
            moved = int(across.argmin())
            sentences.append(
                f"The block that differs most between the two is block {result.blocks[moved]}: its "
                f"CKA with itself is {across[moved].item():.3f}."
            )
    if bool(torch.isnan(result.matrix).any()):
        sentences.append("Features that don't vary between pictures have no CKA and are left out.")
    return Summary(
        "Similarity of blocks",
        ("network", f"block {last} with the others", "neighbouring blocks"),
        tuple(rows),
        tuple(sentences),
        "Mean linear CKA, -1 to 1.",
    )


def _change(result: CKAResult) -> str:
    def gap(found: CKAResult) -> float:
        return found.last_with_others(0) - found.last_with_others(1)

    first, second = result.subjects
    low, high = result.interval(gap)
    if settled(low, high):
        verdict = f"block {result.blocks[-1]} is {'more' if gap(result) > 0 else 'less'} like them"
        verdict += f" in {first}"
    else:
        verdict = "which is higher is not settled"
    paper = " (The paper finds that training raises it.)" if second == RAW_NAME else ""
    return (
        f"Mean CKA of block {result.blocks[-1]} with the other blocks, {first} minus {second}: "
        f"{points(gap(result), 2)} hundredths ({points_between(low, high, 2)}, over "
        f"{counted(len(result.hsic), 'batch')}): {verdict}.{paper}"
    )


def _pairs(result: CKAResult) -> Iterator[Row]:
    labels = [(name, block) for name in result.subjects for block in result.blocks]
    for (first, row), values in zip(labels, result.matrix.tolist(), strict=True):
        for (second, column), value in zip(labels, values, strict=True):
            yield first, row, second, column, value
