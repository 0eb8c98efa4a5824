"""The same recipe over several seeds: a run each, and mean and spread of their results."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from rich.progress import Progress

from cascade_clip.checkpoint.folder import load_bundle
from cascade_clip.config import Recipe
from cascade_clip.data.factory import open_dataset
from cascade_clip.errors import TrainingStopped
from cascade_clip.evaluation.evaluate import evaluate_bundle
from cascade_clip.evaluation.results import write_metrics
from cascade_clip.evaluation.share import Share
from cascade_clip.io.files import write_text
from cascade_clip.support.messages import Console
from cascade_clip.support.plain_values import read_json
from cascade_clip.training.run import train
from cascade_clip.training.run_folder import (
    RECIPE_FILE,
    check_same_recipe,
    is_first_process,
)

SUMMARY_FILE = "seeds.json"
RESULT_FILE = "test.json"
MEASURES = ("pixel_accuracy", "miou", "miou_seen", "miou_unseen", "hiou")

Result = dict[str, float | None]
"""Measures as fractions in [0, 1]; None where undefined."""


@dataclass(frozen=True)
class SeedSummary:
    """Results on the test part by seed, their mean, and their sample standard deviation."""

    per_seed: dict[int, Result]
    mean: Result
    spread: Result
    """None for a single seed."""


def train_seeds(
    recipe: Recipe, out: Path, count: int, resume: bool = False, quiet: bool = False
) -> SeedSummary:
    """Trains `count` seeds from `recipe.train.seed` on, each in `out/seed-N`, evaluates each on the
    test part and writes the summary to `out/seeds.json`.

    With `resume`, finished seeds are taken as they are and an unfinished one goes on.

    Raises as `training.run.train`.
    """
    results: dict[int, Result] = {}
    for seed in range(recipe.train.seed, recipe.train.seed + count):
        one = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": seed})})
        folder = out / f"seed-{seed}"
        _train(one, folder, resume, quiet)
        results[seed] = _result(one, folder, quiet)
    summary = summarise(results)
    if is_first_process():
        content = {
            "recipe": recipe.name,
            "part": "test",
            "seeds": {str(seed): result for seed, result in results.items()},
            "mean": summary.mean,
            "spread": summary.spread,
            "spread_is": "sample standard deviation over the seeds",
        }
        write_text(out / SUMMARY_FILE, json.dumps(content, indent=2, allow_nan=False) + "\n")
    return summary


def summarise(results: Mapping[int, Result]) -> SeedSummary:
    """Mean and spread over the seeds of each measure; None where a seed has no value for it."""
    mean: Result = {}
    spread: Result = {}
    for measure in MEASURES:
        values = [result[measure] for result in results.values()]
        known = [value for value in values if value is not None]
        complete = len(known) == len(values)
        mean[measure] = fmean(known) if complete else None
        spread[measure] = stdev(known) if complete and len(known) > 1 else None
    return SeedSummary(dict(results), mean, spread)


def _train(recipe: Recipe, folder: Path, resume: bool, quiet: bool) -> None:
    begun = resume and (folder / RECIPE_FILE).is_file()
    if begun and (folder / "model").is_dir():
        check_same_recipe(recipe, folder)
        return
    if not quiet and is_first_process():
        Console(stderr=True).print(f"seed {recipe.train.seed}: {folder}", highlight=False)
    try:
        train(recipe, folder, resume=begun, quiet=quiet)
    except TrainingStopped as stop:
        raise TrainingStopped(
            f"seed {recipe.train.seed} stopped; go on with the same command and --resume",
            stop.signal_number,
        ) from stop


def _result(recipe: Recipe, folder: Path, quiet: bool) -> Result:
    path = folder / RESULT_FILE
    if path.is_file():
        stored: dict[str, Any] = read_json(path)["metrics"]
        [row] = stored.values()  # by the name of the recipe, which may have changed
        return {measure: row[measure] for measure in MEASURES}
    on_gpu = recipe.train.accelerator != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    dataset = Share.of_this_process(open_dataset(recipe.data, "test"))
    silent = quiet or not is_first_process()
    with Progress(console=Console(stderr=True), disable=silent) as progress:
        task = progress.add_task(f"seed {recipe.train.seed}, test part", total=len(dataset))
        metrics = evaluate_bundle(
            load_bundle(folder), dataset, recipe, device, partial(progress.advance, task)
        )
    if is_first_process():
        write_metrics(path, {recipe.name: metrics}, recipe, "test", dataset.classes)
    values = metrics.to_dict()
    return {name: values[name] if math.isfinite(values[name]) else None for name in MEASURES}
