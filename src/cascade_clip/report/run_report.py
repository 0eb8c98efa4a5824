"""The report of one model: how well it does, where it fails, and how it was trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cascade_clip.config import Recipe
from cascade_clip.config.recipes import dump_recipe
from cascade_clip.evaluation.examples import Example
from cascade_clip.evaluation.findings import Findings
from cascade_clip.evaluation.methods import make_examples
from cascade_clip.picturebook import STUFF, THINGS
from cascade_clip.report.sections import (
    classes_section,
    curves_section,
    metrics_section,
    pictures_section,
    read_history,
    settings_section,
    write_report,
)
from cascade_clip.support.environment import describe_environment
from cascade_clip.support.plain_values import read_json

SHOWN = 4
"""Worst pictures in a report, and as many best ones."""
LONGEST_SIDE = 320
"""Pictures are shown at most this large, in pixels."""


def write_run_report(path: Path, findings: Findings, run: Path | None) -> Path:
    """Writes the page for a model and what was found out about it.

    `run` is the folder that it was trained in, if there is one: its log and environment are shown.

    Raises `UserError` if the file can't be written.
    """
    name = next(iter(findings.rows))
    recipe = findings.method.recipe
    classes = findings.judgement.classes
    lowered = "" if findings.precision == "fp32" else f" in {findings.precision}"
    lead = (
        f"{name}{lowered} on {len(findings.accuracies.values)} pictures of {recipe.data.name} "
        f"({findings.part}), {len(classes.names)} classes. {findings.judgement.meaning}."
    )
    history = read_history(run / "metrics.csv") if run and (run / "metrics.csv").is_file() else []
    sections = [
        metrics_section(findings.rows, classes, _groups(recipe)),
        classes_section(findings.rows, classes),
        *_extremes(name, findings),
        *([curves_section({name: history}, _columns(history))] if history else []),
        settings_section({name: dump_recipe(recipe)}, findings.seconds, _environment(run)),
    ]
    return write_report(path, f"Report: {name}", lead, sections)


def _extremes(name: str, findings: Findings) -> list[str]:
    """The worst and the best pictures, with their errors."""
    count = min(SHOWN, len(findings.accuracies.values) // 2)
    if count == 0:
        return []
    parts = (
        ("Worst pictures", findings.accuracies.worst(count)),
        ("Best pictures", findings.accuracies.best(count)),
    )
    note = "By the share of pixels that are right. Red: wrong pixels."
    return [
        pictures_section(
            title, note, _examples(name, findings, chosen), findings.judgement.classes,
            errors_of=name,
        )
        for title, chosen in parts
    ]  # fmt: skip


def _examples(name: str, findings: Findings, indices: Sequence[int]) -> list[Example]:
    """One at a time: pictures may be of different sizes."""
    made = []
    for index in indices:
        made += make_examples(
            [findings.dataset[index]],
            {name: findings.method},
            findings.text_embeddings,
            findings.judgement.classes,
        )
    return [_shrunk(example) for example in made]


def _groups(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """Groups of classes that are reported apart."""
    return {"things": THINGS, "stuff": STUFF} if recipe.data.name == "picturebook" else {}


def _shrunk(example: Example) -> Example:
    """The example at the size in which it is shown."""
    height, width = example.truth.shape
    scale = LONGEST_SIDE / max(height, width)
    if scale >= 1:
        return example
    size = (max(1, round(width * scale)), max(1, round(height * scale)))

    def labels(full: Any) -> Any:
        small = Image.fromarray(full.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
        return np.asarray(small).astype(full.dtype)

    return replace(
        example,
        image=np.asarray(Image.fromarray(example.image).resize(size)),
        truth=labels(example.truth),
        predictions={method: labels(full) for method, full in example.predictions.items()},
    )


def _columns(history: Sequence[Mapping[str, float]]) -> list[str]:
    logged = {column for row in history for column in row}
    return [column for column in ("loss", "val_S", "val_U") if column in logged]


def _environment(run: Path | None) -> dict[str, Any]:
    """That of the training where it is known, else the present one."""
    stored = run / "versions.json" if run else None
    if stored is not None and stored.is_file():
        values: dict[str, Any] = read_json(stored)
        return values
    return describe_environment()
