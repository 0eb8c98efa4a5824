"""The report of one model: how well it does, where it fails, and how it was trained."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from cascade_clip.config import Recipe
from cascade_clip.data.dataset import SegmentationDataset
from cascade_clip.data.labels import IGNORE
from cascade_clip.data.picturebook import STUFF, THINGS
from cascade_clip.environment import describe_environment
from cascade_clip.evaluation.contenders import Contender, make_examples
from cascade_clip.evaluation.report import (
    Example,
    Rows,
    classes_section,
    curves_section,
    metrics_section,
    pictures_section,
    read_history,
    settings_section,
    write_report,
)
from cascade_clip.evaluation.transfer import Judgement
from cascade_clip.plain_values import read_json
from cascade_clip.recipes import dump_recipe

SHOWN = 4
"""Worst pictures in a report, and as many best ones."""
LONGEST_SIDE = 320
"""Pictures are shown at most this large, in pixels."""


@dataclass
class Accuracies:
    """Listens to an evaluation: the share of labelled pixels that came out right, by picture."""

    values: list[float] = field(default_factory=list)
    """0..1 in the order of the data set; NaN for a picture without a labelled pixel."""

    def __call__(self, predicted: Tensor, truth: Tensor) -> None:
        """Takes the labels (B, H, W) of the next B pictures."""
        counted = (truth != IGNORE).flatten(1).sum(1).double()
        right = ((predicted == truth) & (truth != IGNORE)).flatten(1).sum(1)
        self.values += (right / counted).tolist()

    def worst(self, count: int) -> list[int]:
        """Indices of the pictures with the lowest shares, the lowest first."""
        return heapq.nsmallest(count, self._known(), key=self.values.__getitem__)

    def best(self, count: int) -> list[int]:
        """Indices of the pictures with the highest shares, the highest first."""
        return heapq.nlargest(count, self._known(), key=self.values.__getitem__)

    def _known(self) -> list[int]:
        return [index for index, value in enumerate(self.values) if not math.isnan(value)]


@dataclass(frozen=True)
class Findings:
    """What an evaluation found out about a model; the first of `rows` is the model itself."""

    contender: Contender
    rows: Rows
    judgement: Judgement
    """Which classes of the data count as seen."""
    dataset: SegmentationDataset
    split: str
    text_embeddings: Tensor
    """(C, d), in the order of the classes"""
    accuracies: Accuracies
    """Of the model itself."""
    seconds: Mapping[str, float]
    """Time spent, by what it was spent on."""


def write_run_report(path: Path, findings: Findings, run: Path | None) -> Path:
    """Writes the page for a model and what was found out about it.

    `run` is the folder that it was trained in, if there is one: its log and environment are shown.

    Raises `UserError` if the file can't be written.
    """
    name = next(iter(findings.rows))
    recipe = findings.contender.recipe
    classes = findings.judgement.classes
    lead = (
        f"{name} on {len(findings.accuracies.values)} pictures of {recipe.data.name} (split "
        f"{findings.split}), {len(classes.names)} classes. {findings.judgement.meaning}."
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
            {name: findings.contender},
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
        small = Image.fromarray(full.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
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
