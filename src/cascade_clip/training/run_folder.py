"""The folder of a run: its name, what it says about the run, and whether a run can go on in it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from cascade_clip.checkpoint.clip_files import with_absolute_clip
from cascade_clip.config import ClipSettings, Recipe
from cascade_clip.config.recipes import dump_recipe, flatten, load_recipe
from cascade_clip.errors import UserError
from cascade_clip.io.files import write_text
from cascade_clip.support.environment import describe_environment
from cascade_clip.training.checkpoints import has_checkpoint, newest_checkpoint

RECIPE_FILE = "recipe.yaml"
_FREE_TO_CHANGE = (
    "name", "summary", "data.root", "train.keep_model_at",
    "train.accelerator", "train.devices", "train.nodes", "train.workers", "train.checkpoint_every",
    "train.validate_every", "train.validation_pictures", "train.compile",
    "train.checkpoint_activations", "train.sample_pictures", "train.sanity",
    "train.wandb",
)  # fmt: skip
"""Settings that a resumed run may have otherwise: they don't decide the weights, but for dropout,
which differs from process to process."""
_CLIP = tuple(f"model.clip.{key}" for key in ClipSettings.model_fields)


@dataclass(frozen=True)
class Start:
    """Training begins after `step` steps, from the checkpoint of then; a new run has none."""

    checkpoint: Path | None = None
    step: int = 0


def new_run_folder(recipe: Recipe, runs: Path) -> Path:
    """`runs/<recipe>-<n>` with the first free n."""
    return runs / f"{recipe.file_name}-{max(_run_numbers(recipe, runs), default=0) + 1}"


def newest_run_folder(recipe: Recipe, runs: Path) -> Path:
    """`runs/<recipe>-<n>` with the highest n. Raises `UserError` if there is none."""
    numbers = _run_numbers(recipe, runs)
    if not numbers:
        raise UserError(f"no run of {recipe.name} in {runs} to resume; start without --resume")
    return runs / f"{recipe.file_name}-{max(numbers)}"


def is_first_process() -> bool:
    """Whether this process is the one of its run that writes and prints."""
    rank: int = rank_zero_only.rank  # type: ignore[attr-defined]
    return rank == 0


def check_run_folder(recipe: Recipe, out: Path, resume: bool) -> None:
    """Raises `UserError` if the folder holds another run, one that is not to be resumed, or, with
    `resume`, none at all."""
    if resume:
        check_same_recipe(recipe, out)
    elif is_first_process() and (out / RECIPE_FILE).exists():
        raise UserError(f"{out} holds a run already; go on with --resume, or choose another --out")


def find_start(out: Path, resume: bool, weights: Collection[str]) -> Start:
    """Where a run in the folder `out` begins; its checkpoints have to hold `weights`, by name.

    A run that was stopped before its first checkpoint begins anew in its folder.

    Raises `UserError` if none of its checkpoints can be read.
    """
    return Start(*newest_checkpoint(out, weights)) if resume and has_checkpoint(out) else Start()


def describe_run(recipe: Recipe, out: Path) -> None:
    """Writes all settings to `recipe.yaml`, versions and hardware to `versions.json`."""
    settings = dump_recipe(with_absolute_clip(recipe))  # for a resumed run in another folder
    write_text(out / "versions.json", json.dumps(describe_environment(), indent=2) + "\n")
    write_text(out / RECIPE_FILE, yaml.safe_dump(settings, sort_keys=False))


def check_same_recipe(recipe: Recipe, out: Path) -> None:
    """Raises `UserError` unless the folder holds a run with these settings; some may differ."""
    if not (out / RECIPE_FILE).is_file():
        raise UserError(f"{out} holds no run to go on with; start without --resume")
    stored = decisive_settings(load_recipe(out / RECIPE_FILE))
    given = decisive_settings(recipe)
    different = [key for key in given if given[key] != stored.get(key)]
    if different:
        key = different[0]
        raise UserError(
            f"{out} was trained with {key}={stored.get(key)}, now it is {given[key]}; resume with "
            f"the same settings: cascade-clip train {out / RECIPE_FILE} --out {out} --resume"
        )


def decisive_settings(recipe: Recipe) -> dict[str, Any]:
    """The settings that decide a run's weights, given its pictures; nested ones as `train.lr`.

    A model to start from decides the CLIP."""
    settings = flatten(dump_recipe(with_absolute_clip(recipe)))
    free = _FREE_TO_CHANGE if recipe.train.start_from is None else (*_FREE_TO_CHANGE, *_CLIP)
    return {key: value for key, value in settings.items() if key not in free}


def _run_numbers(recipe: Recipe, runs: Path) -> list[int]:
    pattern = re.compile(re.escape(recipe.file_name) + r"-(\d+)")
    matches = [pattern.fullmatch(path.name) for path in runs.glob(f"{recipe.file_name}-*")]
    return [int(match[1]) for match in matches if match]
