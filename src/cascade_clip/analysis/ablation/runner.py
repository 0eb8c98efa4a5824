"""Trains and measures the variants of ablation tables, several side by side, each only once."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from cascade_clip.analysis.ablation.tables import AblationTable, Variant
from cascade_clip.checkpoint.folder import load_bundle
from cascade_clip.config import Recipe
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.factory import open_dataset
from cascade_clip.evaluation.evaluate import evaluate_bundle
from cascade_clip.io.files import write_text
from cascade_clip.support.parallel import stop_with_parent
from cascade_clip.support.plain_values import read_json
from cascade_clip.training.run import train
from cascade_clip.training.run_folder import RECIPE_FILE, decisive_settings

RESULT_FILE = "ablation.json"
COLUMNS = ("pAcc", "S", "U", "h")
Row = dict[str, float]
"""Pixel accuracy, mIoU of seen and unseen classes and their harmonic mean, in percent."""


@dataclass(frozen=True)
class AblationPlan:
    """How variants are trained and measured: the same for all of them."""

    recipe: str
    """Name or path of the recipe that they vary."""
    settings: tuple[str, ...]
    """`key=value` overrides for all of them."""
    steps: int
    seeds: int
    pictures: int
    """Pictures of the test part."""
    out: Path
    jobs: int
    """Trainings side by side; with several, each gets one thread."""


@dataclass(frozen=True)
class Run:
    """One training: a resolved recipe in a folder named by what decides its weights."""

    name: str
    """The variant and the seed, for people."""
    recipe: Recipe
    folder: Path
    pictures: int

    def result(self) -> Row | None:
        """What was measured, or None if that is still to be done."""
        path = self.folder / RESULT_FILE
        return read_json(path) if path.is_file() else None


def runs_of(plan: AblationPlan, variant: Variant) -> list[Run]:
    """A variant's runs, one for each seed. Raises `UserError` for settings that don't fit."""
    return [_run(plan, variant, seed) for seed in range(plan.seeds)]


def all_runs(plan: AblationPlan, tables: Sequence[AblationTable]) -> list[Run]:
    """The runs of all tables; variants that several tables share are trained once."""
    runs = [run for table in tables for v in table.variants for run in runs_of(plan, v)]
    return list({run.folder: run for run in runs}.values())


def carry_out(
    runs: Sequence[Run], jobs: int, advance: Callable[[Run, Row], None] = lambda run, row: None
) -> None:
    """Trains and measures what has no result yet; stopped ones go on from their checkpoint.

    `advance` hears of each result. Ctrl-C stops those under way at a checkpoint, and no others are
    begun; so does an error.

    Raises as training does.
    """
    waiting = [run for run in runs if run.result() is None]
    if not waiting:
        return
    context = multiprocessing.get_context("spawn")
    workers = min(jobs, len(waiting))
    pool = ProcessPoolExecutor(workers, context, initializer=stop_with_parent)
    to_begin = iter(waiting)
    running: dict[Future[Row], Run] = {}
    try:
        while True:
            # One for each worker: what waits in the pool's own queue can't be taken back.
            for run in islice(to_begin, workers - len(running)):
                running[pool.submit(train_and_measure, run, jobs)] = run
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                advance(running.pop(future), future.result())
    finally:
        pool.shutdown()


@contextmanager
def threads_of(jobs: int) -> Iterator[None]:
    """One thread where several jobs share the cores, all of them for a single one."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1 if jobs > 1 else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train_and_measure(run: Run, jobs: int) -> Row:
    """Does what is left to do of a run beside `jobs` - 1 others, and returns its result."""
    with threads_of(jobs):
        if not (run.folder / "model" / "config.json").is_file():
            resume = (run.folder / RECIPE_FILE).is_file()
            train(run.recipe, run.folder, resume=resume, quiet=True)
        row = measure(run)
    write_text(run.folder / RESULT_FILE, json.dumps(row, indent=2) + "\n")
    return row


def measure(run: Run) -> Row:
    """Metrics of a trained run on the test part, with the recipe's own seen-score offset."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = open_dataset(run.recipe.data, "test", run.pictures)
    found = evaluate_bundle(load_bundle(run.folder), dataset, run.recipe, device)
    values = (found.pixel_accuracy, found.miou_seen, found.miou_unseen, found.hiou)
    return {column: 100 * value for column, value in zip(COLUMNS, values, strict=True)}


def _run(plan: AblationPlan, variant: Variant, seed: int) -> Run:
    fixed = (f"train.steps={plan.steps}", f"train.seed={seed}", "train.validate_every=0")
    recipe = load_recipe(plan.recipe, [*plan.settings, *variant.settings, *fixed])
    measured_on = {"root": str(recipe.data.root), "pictures": plan.pictures}
    folder = plan.out / "runs" / f"{_digest(decisive_settings(recipe) | measured_on)}-{seed}"
    return Run(f"{variant.name}, seed {seed}", recipe, folder, plan.pictures)


def _digest(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
