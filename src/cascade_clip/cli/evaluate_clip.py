"""`evaluate --clip`: training-free methods, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cascade_clip.checkpoint.options import RunOptions
from cascade_clip.checkpoint.source import METHODS
from cascade_clip.cli.options import check_root, read_choices
from cascade_clip.clip.source import parse_clip
from cascade_clip.config.training_free import DEFAULT_METHOD
from cascade_clip.data.part import Part
from cascade_clip.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from cascade_clip.clip.load import FrozenClip
    from cascade_clip.config import Background, Recipe
    from cascade_clip.evaluation.training_free import MethodResult


def evaluate_clip(
    clip: str | None,
    method: str | None,
    data: str | None,
    root: Path | None,
    background: Background | None,
    part: Part,
    scenes: int | None,
    seed: int | None,
    workers: int | None,
    run: RunOptions,
    out: Path | None,
    quiet: bool,
) -> None:
    """Prints a row for each method, in the order of their papers' results, and writes them to
    `out`. Raises `UserError`."""
    if clip is None:
        raise UserError(f"--method {method} needs a CLIP; add --clip, e.g. --clip ViT-B-16/openai")
    if data is None:
        raise UserError("--clip needs data to be measured on, e.g. --data voc20 --root FOLDER")
    if root is not None:
        check_root(data)
    source = parse_clip(clip)
    wanted = DEFAULT_METHOD if method is None else method
    methods = list(METHODS) if wanted == "all" else read_choices(wanted, "--method", METHODS)

    from cascade_clip.clip.load import load_clip
    from cascade_clip.config.recipes import with_inference
    from cascade_clip.evaluation.results import write_metrics
    from cascade_clip.evaluation.training_free import measure_methods
    from cascade_clip.support.devices import choose_device
    from cascade_clip.support.messages import Console, counted

    loaded = load_clip(source)
    recipes = [
        with_inference(clip_recipe(name, loaded, data, root, background, seed), run.inference)
        for name in methods
    ]
    found: list[MethodResult] = []
    device = choose_device(run.device)
    for result in measure_methods(
        loaded,
        recipes,
        device,
        part=part,
        pictures=scenes,
        workers=workers or 0,
        precision=run.precision,
        quiet=quiet,
    ):
        found.append(result)
    console = Console()
    changed = "".join(f", inference.{key}={value}" for key, value in run.inference.items())
    title = f"{loaded.name} on {counted(found[0].pictures, 'picture')}{changed}"
    console.print(_table(found, title))
    if out is not None:
        rows = {result.recipe.name: result.metrics for result in found}
        write_metrics(out, rows, found[0].recipe, part, found[0].classes, found[0].precision)
        console.print(f"written: {out}", highlight=False, markup=False, soft_wrap=True)


def clip_recipe(
    method: str,
    clip: FrozenClip,
    data: str,
    root: Path | None,
    background: Background | None,
    seed: int | None,
) -> Recipe:
    """The published protocol of a method on a data set; that for photographs on a
    folder."""
    from cascade_clip.checkpoint.training_free import photograph_recipe
    from cascade_clip.config import PreparedName
    from cascade_clip.config.recipes import load_recipe

    if data in (*get_args(PreparedName), "picturebook"):
        recipe = load_recipe(f"{method}/{data}")
        changes: dict[str, Any] = {}
        if root is not None:
            changes["root"] = root
        if seed is not None:
            drawn = recipe.data.picturebook.model_copy(update={"seed": seed})
            changes["picturebook"] = drawn
    else:
        recipe = photograph_recipe(method, clip)
        changes = {"name": "folder", "root": Path(data), "background": background}
    settings = recipe.data.model_copy(update=changes)
    return recipe.model_copy(update={"data": settings})


def _table(found: list[MethodResult], title: str) -> Table:
    """One row per method, percent."""
    from rich.markup import escape
    from rich.table import Table

    from cascade_clip.cli.tables import percent
    from cascade_clip.config.published import published_results
    from cascade_clip.evaluation.metrics import NOTHING_COUNTS, nothing_counts

    published = published_results()
    table = Table(title=escape(f"{title}; percent"))
    for column in ("method", "mIoU", "pAcc", "published", "s a picture"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for result in found:
        report = published.get(result.recipe.name)
        miou = "-" if report is None or report.miou is None else f"{report.miou:.1f}"
        pace = f"{result.seconds / max(1, result.pictures):.2f}"
        name = result.recipe.name.partition("/")[0]
        metrics = result.metrics
        table.add_row(name, percent(metrics.miou), percent(metrics.pixel_accuracy), miou, pace)
    if nothing_counts([result.metrics for result in found]):
        table.caption = NOTHING_COUNTS
    return table
