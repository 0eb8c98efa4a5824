"""`evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from cascade_clip.checkpoint.locate import check_trained
from cascade_clip.checkpoint.options import AUTO, read_run_options
from cascade_clip.checkpoint.source import METHODS, check_pretrained
from cascade_clip.cli.evaluate_clip import evaluate_clip
from cascade_clip.cli.options import (
    ClipOption,
    Data,
    Device,
    InferenceSetting,
    MaskBackground,
    PartName,
    PrecisionOption,
    Pretrained,
    Quiet,
    Root,
    Scenes,
    Seed,
    check_root,
)
from cascade_clip.config import Templates
from cascade_clip.config.training_free import DEFAULT_METHOD
from cascade_clip.data.part import read_part
from cascade_clip.errors import UserError
from cascade_clip.io.find import check_writable
from cascade_clip.support.messages import did_you_mean
from cascade_clip.support.parallel import tell_of_fewer_readers

if TYPE_CHECKING:
    from cascade_clip.config import DataSettings


def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(help="Run or model folder, or 'picturebook' for the embedded model."),
    ] = None,
    clip: ClipOption = None,
    method: Annotated[
        str | None,
        typer.Option(
            help=f"With --clip: comma-separated {', '.join(METHODS)}, or all.",
            show_default=DEFAULT_METHOD,
        ),
    ] = None,
    data: Data = None,
    root: Root = None,
    scenes: Scenes = None,
    seed: Seed = None,
    background: MaskBackground = None,
    part: PartName = "test",
    split: Annotated[
        str | None,
        typer.Option(
            help="Name of the seen/unseen class split.",
            show_default="as trained, or standard",
        ),
    ] = None,
    templates: Annotated[
        Templates | None, typer.Option(help="Prompt templates.", show_default="as trained")
    ] = None,
    offset: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Subtracted from seen-class scores.",
            show_default="as trained",
        ),
    ] = None,
    raw_clip: Annotated[
        bool, typer.Option("--raw-clip", help="Also evaluate its CLIP without training.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=1024,
            help="Data-loading processes; 0: load in the main process.",
            show_default="4 on a GPU, else 0",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Result file; an HTML report is written next to it.",
            show_default="MODEL/metrics.json; metrics-DATA.json for data it was not trained on, "
            "metrics-PRECISION.json for lower precision; none with --set",
        ),
    ] = None,
    pretrained: Pretrained = None,
    device: Device = AUTO,
    precision: PrecisionOption = "fp32",
    inference: InferenceSetting = None,
    quiet: Quiet = False,
) -> None:
    """Evaluate a model: pixel accuracy, mIoU of seen and unseen classes, harmonic mean.

    On data other than its training set, a class counts as seen if its name was trained on. With
    --clip, evaluate training-free methods, each by its published protocol.
    """
    wanted = read_part(part)
    run = read_run_options(device, precision, inference or ())
    check_data(data)
    check_background(data, background)
    tell_of_fewer_readers("--workers", workers or 0)
    if out is not None:
        check_result(out)
    if clip is not None or method is not None:
        options = (model, split, templates, offset, pretrained, raw_clip or None)
        if any(option is not None for option in options):
            raise UserError(
                "--clip evaluates training-free methods; MODEL, --split, --templates, --offset, "
                "--pretrained and --raw-clip are for trained models"
            )
        evaluate_clip(
            clip, method, data, root, background, wanted, scenes, seed, workers, run, out, quiet
        )
        return
    if model is None:
        raise UserError("give a model or run folder, or a CLIP, e.g. --clip ViT-B-16/openai")
    check_trained(model, "evaluate")
    check_pretrained(model, None, pretrained)
    own_result = out is None and Path(model).is_dir() and not run.inference
    if own_result:
        check_writable(Path(model))  # mistakes show before the heavy imports

    from cascade_clip.checkpoint.folder import load_bundle
    from cascade_clip.cli.tables import class_table, summary_table
    from cascade_clip.config.recipes import with_inference
    from cascade_clip.data.factory import open_dataset
    from cascade_clip.evaluation.measure import measure
    from cascade_clip.evaluation.results import write_metrics
    from cascade_clip.evaluation.share import group_of_torchrun
    from cascade_clip.report.run_report import write_run_report
    from cascade_clip.support.messages import Console

    bundle = load_bundle(model, pretrained=pretrained)
    trained = bundle.recipe.data
    settings = data_settings(trained, data, root, split, seed)
    if background is not None:
        settings = settings.model_copy(update={"background": background})
    if templates is not None:
        settings = settings.model_copy(update={"templates": templates})
    recipe = bundle.recipe.model_copy(update={"data": settings})
    changes = dict(run.inference)
    if offset is not None:
        changes["seen_score_offset"] = offset
    recipe = with_inference(recipe, changes)
    with group_of_torchrun() as number:
        found = measure(
            bundle,
            recipe,
            open_dataset(settings, wanted, scenes),
            part=wanted,
            raw_clip=raw_clip,
            workers=workers,
            run=run,
            quiet=quiet or number > 0,
        )
    if number > 0:
        return  # the first process prints and writes what all have found
    classes = found.judgement.classes
    console = Console()
    console.print(
        summary_table(found.rows, found.judgement.meaning), class_table(found.rows, classes)
    )
    if own_result:
        out = Path(model) / _result_file(trained, settings, found.precision)
    if out is not None:
        write_metrics(out, found.rows, recipe, part, classes, found.precision)
        page = out.with_name(out.stem.replace("metrics", "report") + ".html")
        shown = f"{page}{replaced(page)}"
        write_run_report(page, found, run=Path(model))
        console.print(f"written: {out}, {shown}", highlight=False, markup=False, soft_wrap=True)


def replaced(page: Path) -> str:
    """What to say behind a page that is about to be written."""
    return " (an earlier page was replaced)" if page.exists() else ""


def check_data(data: str | None) -> None:
    """Raises `UserError` if --data is neither the name of a data set nor a path."""
    from cascade_clip.config import PreparedName

    known = ["picturebook", *get_args(PreparedName)]
    if data is not None and data not in known and not Path(data).exists():
        raise UserError(
            f"{data} is neither a folder nor one of {', '.join(known)}{did_you_mean(data, known)}"
        )


def check_background(data: str | None, background: str | None) -> None:
    """Raises `UserError` for --background without a folder of own masks."""
    if background is not None and (data is None or not Path(data).is_dir()):
        raise UserError(
            "--background says what 0 means in masks of your own; give their folder with --data"
        )


def check_result(out: Path) -> None:
    """Raises `UserError` if a result file can't be written."""
    if out.is_dir():
        raise UserError(f"{out} is a folder; give the name of a file with --out")
    check_writable(out.parent)


def data_settings(
    trained: DataSettings,
    data: str | None,
    root: Path | None,
    split: str | None,
    seed: int | None,
) -> DataSettings:
    """The data that the options name, prepared as the model was trained."""
    values: dict[str, Any] = {}
    if data is not None:
        values = _named(data, trained)
    if root is not None:
        check_root(values.get("name", trained.name))
        values["root"] = root
    if split is not None:
        values["split"] = split
    if seed is not None:
        values["picturebook"] = trained.picturebook.model_copy(update={"seed": seed})
    return trained.model_copy(update=values)


def _named(data: str, trained: DataSettings) -> dict[str, Any]:
    """Settings of the data called `data`: a name of `data.name`, or a folder."""
    from cascade_clip.config import PreparedName
    from cascade_clip.data.class_lists import OWN_NAMES, STANDARD, load_class_list

    plain = {
        "root": None,
        "background": None,
        "split": STANDARD,
        "synonyms": False,
        "names": OWN_NAMES,
    }
    prepared = data in get_args(PreparedName)
    if data == trained.name and (prepared or data == "picturebook"):
        return {}
    if prepared:
        known = load_class_list(data)
        return {
            **plain,
            "name": data,
            "synonyms": trained.synonyms and bool(known.synonyms),
            "names": trained.names if trained.names in known.vocabularies else OWN_NAMES,
        }
    if data == "picturebook":
        return {**plain, "name": data}
    if (trained.name, trained.root) == ("folder", Path(data)):
        return {}
    background = trained.background  # most likely numbered as in training
    return {**plain, "name": "folder", "root": Path(data), "background": background}


def _result_file(trained: DataSettings, settings: DataSettings, precision: str) -> str:
    """The data of the training in fp32 has the plain name, so that no other takes its place."""
    name: str = settings.name
    same = name == trained.name
    if settings.name == "folder":
        assert settings.root is not None
        name, same = settings.root.resolve().name, same and settings.root == trained.root
    parts = ["metrics", *([] if same else [name]), *([] if precision == "fp32" else [precision])]
    return f"{'-'.join(parts)}.json"
