"""`train`, `evaluate`, `recipes` and `info`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from cascade_clip.checkpoint.native import Bundle
    from cascade_clip.config import DataSettings
    from cascade_clip.data.classes import ClassSet
    from cascade_clip.evaluation.metrics import Metrics

RUNS = Path("runs")

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe, or a YAML file.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings, e.g. train.steps=100."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder.", show_default="runs/RECIPE-N")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, or the newest one.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train a model as a recipe says."""
    from cascade_clip.recipes import load_recipe

    resolved = load_recipe(recipe, settings or [])  # mistakes show before the heavy imports

    from rich.console import Console

    from cascade_clip.training import run

    if out is None:
        out = (run.newest_run_folder if resume else run.new_run_folder)(resolved, RUNS)
    model = run.train(resolved, out, resume=resume, quiet=quiet)
    if run.is_first_process():
        Console().print(f"model: {model}\nnext: cascade-clip evaluate {out}", highlight=False)


def evaluate(
    model: Annotated[
        str, typer.Argument(help="Run or model folder, or 'picturebook' for the embedded model.")
    ],
    data: Annotated[
        str | None,
        typer.Option(help="'picturebook' or a data set folder.", show_default="as trained"),
    ] = None,
    scenes: Annotated[
        int | None, typer.Option(min=1, help="How many pictures.", show_default="all")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=9999, help="Seed of the picture book.")
    ] = None,
    split: Annotated[str, typer.Option(help="test, val or calibration.")] = "test",
    raw_clip: Annotated[
        bool, typer.Option("--raw-clip", help="Evaluate CLIP without training next to it.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Result file.", show_default="MODEL/metrics.json")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Measure a model: pixel accuracy, mIoU of seen and unseen classes, harmonic mean."""
    from rich.console import Console

    from cascade_clip.checkpoint.native import EMBEDDED, load_bundle
    from cascade_clip.cli.tables import class_table, summary_table
    from cascade_clip.evaluation.results import write_metrics

    bundle = load_bundle(model)
    settings = _data_settings(bundle.recipe.data, data, seed)
    rows, classes = _measure(bundle, settings, split, scenes, raw_clip, quiet)
    console = Console()
    console.print(summary_table(rows), class_table(rows, classes))
    if out is None and (model != EMBEDDED or Path(model).exists()):
        out = Path(model) / "metrics.json"
    if out is not None:
        write_metrics(out, rows, settings, split)
        console.print(f"written: {out}", highlight=False)


def recipes() -> None:
    """List the recipes."""
    from rich.console import Console
    from rich.table import Table

    from cascade_clip.recipes import load_recipe, recipe_names

    table = Table("recipe", "summary")
    for name in recipe_names():
        table.add_row(name, load_recipe(name).summary)
    Console().print(table)


def info() -> None:
    """Show versions, hardware and the embedded model."""
    from rich.console import Console
    from rich.table import Table

    from cascade_clip.training.logs import describe_environment

    environment = describe_environment()
    packages = environment.pop("packages")
    table = Table("", "", show_header=False)
    for name, value in {**environment, **packages}.items():
        shown = ", ".join(value) or "none" if isinstance(value, list) else str(value)
        table.add_row(name.replace("_", " "), shown)
    for name, shown in _embedded_facts():
        table.add_row(name, shown)
    Console().print(table)


def _data_settings(trained: DataSettings, data: str | None, seed: int | None) -> DataSettings:
    """The data that the options name, prepared as the model was trained."""
    values: dict[str, Any] = {}
    if data is not None:
        folder = data != "picturebook"
        values = {"name": "folder" if folder else data, "root": Path(data) if folder else None}
    if seed is not None:
        values["picturebook"] = trained.picturebook.model_copy(update={"seed": seed})
    return trained.model_copy(update=values)


def _measure(
    bundle: Bundle,
    settings: DataSettings,
    split: str,
    scenes: int | None,
    raw_clip: bool,
    quiet: bool,
) -> tuple[dict[str, Metrics], ClassSet]:
    """Metrics by method, and the classes of the data."""
    import torch
    from rich.console import Console
    from rich.progress import Progress
    from torch import nn

    from cascade_clip.clip.load import load_clip
    from cascade_clip.clip.text import encode_classes
    from cascade_clip.config import Recipe
    from cascade_clip.data.dataset import open_dataset, read_split
    from cascade_clip.evaluation.evaluate import evaluate
    from cascade_clip.evaluation.raw_clip import RawClip, raw_clip_recipe

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = open_dataset(settings, read_split(split), scenes)
    recipe = bundle.recipe.model_copy(update={"data": settings})
    methods: dict[str, tuple[nn.Module, Recipe]] = {recipe.name: (bundle.network, recipe)}
    if raw_clip:
        clip = load_clip(recipe.model.clip)  # its own copy: training may have changed the other
        methods["raw CLIP"] = (RawClip(clip.visual), raw_clip_recipe(recipe, clip))
    text = encode_classes(bundle.clip, dataset.classes.names, bundle.templates).to(device)
    rows = {}
    with Progress(console=Console(stderr=True), disable=quiet) as progress:
        for name, (network, its_recipe) in methods.items():
            task = progress.add_task(name, total=len(dataset))
            advance = partial(progress.advance, task)
            rows[name] = evaluate(network.to(device), dataset, text, its_recipe, advance=advance)
    return rows, dataset.classes


def _embedded_facts() -> list[tuple[str, str]]:
    from cascade_clip.checkpoint.native import EMBEDDED, load_bundle
    from cascade_clip.errors import UserError

    try:
        bundle = load_bundle(EMBEDDED)
    except UserError as error:
        return [("embedded model", f"none: {error}")]
    clip = bundle.clip
    trained = sum(p.numel() for p in bundle.network.trained_parameters().values())
    size = sum(p.numel() for p in clip.model.parameters()) / 1e6
    facts = [
        ("embedded CLIP", f"{size:.1f} M weights, {clip.depth} blocks, {clip.image_size} px"),
        ("embedded model", f"{bundle.recipe.name}, {trained / 1e6:.1f} M trained weights"),
        ("its classes", ", ".join(bundle.classes.names)),
        ("unseen in training", ", ".join(bundle.classes.unseen)),
    ]
    measured = {k: v for k, v in bundle.metrics.items() if v is not None}
    return [*facts, *((f"its {key}", f"{value:.3f}") for key, value in measured.items())]
