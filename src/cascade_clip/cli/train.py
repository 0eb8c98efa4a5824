"""`train`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade_clip.cli.options import Quiet
from cascade_clip.clip.source import parse_clip
from cascade_clip.config.model import EMBEDDED_CLIPS
from cascade_clip.errors import UserError

if TYPE_CHECKING:
    from cascade_clip.config import Recipe
    from cascade_clip.training.run import TrainedModel

RUNS = Path("runs")


def train(
    recipe: Annotated[str, typer.Argument(help="METHOD/DATA/SETTING, or a YAML file.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Overrides, e.g. train.steps=100."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder.", show_default="runs/RECIPE-N")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the run in --out, or the latest one.")
    ] = False,
    clip: Annotated[
        str | None,
        typer.Option(
            help="CLIP to train on: ViT-B-16/openai, a weights file, local-dir:FOLDER, or an "
            "architecture with --pretrained; sets model.clip."
        ),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(help="Its weights: an open_clip tag or a file; sets model.clip.pretrained."),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Train this many seeds; report mean and spread."),
    ] = None,
    report: Annotated[
        bool, typer.Option(help="Write OUT/report.html on the validation pictures after training.")
    ] = True,
    quiet: Quiet = False,
) -> None:
    """Train a model from a recipe."""
    from cascade_clip.config.recipes import load_recipe

    overrides = [*(settings or []), *_clip_settings(clip, pretrained)]
    resolved = load_recipe(recipe, overrides)  # mistakes show before the heavy imports

    from cascade_clip.errors import TrainingFailed, TrainingStopped
    from cascade_clip.training.run_folder import (
        is_first_process,
        new_run_folder,
        newest_run_folder,
    )

    if out is None:
        out = (newest_run_folder if resume else new_run_folder)(resolved, RUNS)
    try:
        if seeds is None:
            _train_one(resolved, out, resume, report, quiet)
        else:
            _train_seeds(resolved, out, seeds, resume, quiet)
    except (TrainingFailed, TrainingStopped) as error:
        if is_first_process():
            raise
        raise typer.Exit(0) from error  # every process exits; only the first prints why


def _clip_settings(clip: str | None, pretrained: str | None) -> list[str]:
    """The options as settings; JSON, so that YAML reads text as text."""
    values = {"model": clip, "pretrained": pretrained}
    if clip is not None and (clip in EMBEDDED_CLIPS or not re.fullmatch(r"[\w-]+", clip)):
        if pretrained is not None:
            raise UserError(f"--clip {clip} comes with its weights; leave out --pretrained")
        named = parse_clip(clip)
        values = {"model": named.model, "pretrained": named.pretrained}
    else:
        values = {key: value for key, value in values.items() if value is not None}
    return [f"model.clip.{key}={json.dumps(value)}" for key, value in values.items()]


def _train_one(recipe: Recipe, out: Path, resume: bool, report: bool, quiet: bool) -> None:
    from cascade_clip.support.messages import Console
    from cascade_clip.training.run import train
    from cascade_clip.training.run_folder import check_same_recipe, is_first_process
    from cascade_clip.training.trainer import leave_group

    if resume and (out / "model").is_dir():
        check_same_recipe(recipe, out)
        if is_first_process():
            Console().print(f"{out} is finished; model: {out / 'model'}", highlight=False)
        return
    trained = train(recipe, out, resume=resume, quiet=quiet)
    leave_group()
    if is_first_process():
        console = Console()
        console.print(f"model: {trained.folder}", highlight=False, markup=False)
        if report:
            console.print(f"report: {_report(trained, out, quiet)}", highlight=False, markup=False)
        console.print(f"next: cascade-clip evaluate {out}", highlight=False, markup=False)


def _report(trained: TrainedModel, out: Path, quiet: bool) -> Path:
    """A first look at the model, on the pictures that validation looked at."""
    from cascade_clip.checkpoint.folder import load_bundle
    from cascade_clip.evaluation.measure import measure
    from cascade_clip.report.run_report import write_run_report

    bundle = load_bundle(out)
    pictures = trained.validation_pictures
    found = measure(bundle, bundle.recipe, pictures, part="val", quiet=quiet)
    return write_run_report(out / "report.html", found, out)


def _train_seeds(recipe: Recipe, out: Path, count: int, resume: bool, quiet: bool) -> None:
    from cascade_clip.cli.tables import seeds_table
    from cascade_clip.support.messages import Console
    from cascade_clip.training.run_folder import is_first_process
    from cascade_clip.training.seeds import SUMMARY_FILE, train_seeds

    summary = train_seeds(recipe, out, count, resume=resume, quiet=quiet)
    if is_first_process():
        console = Console()
        console.print(seeds_table(summary))
        console.print(f"written: {out / SUMMARY_FILE}", highlight=False, markup=False)
