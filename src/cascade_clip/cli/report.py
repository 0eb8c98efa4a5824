"""`report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade_clip.checkpoint.locate import RUNS, check_trained
from cascade_clip.checkpoint.options import AUTO, read_run_options
from cascade_clip.cli.evaluate import check_result, replaced
from cascade_clip.cli.options import Device, ModelArgument, PartName, Precision, Quiet, Scenes
from cascade_clip.data.part import read_part


def report(
    model: ModelArgument,
    scenes: Scenes = None,
    part: PartName = "test",
    raw_clip: Annotated[
        bool, typer.Option("--raw-clip", help="Show CLIP without training next to it.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The page.",
            show_default="report.html in the folder MODEL, else runs/report-MODEL.html",
        ),
    ] = None,
    device: Device = AUTO,
    precision: Precision = "fp32",
    quiet: Quiet = False,
) -> None:
    """Write a page about a model: metrics, classes, worst and best pictures, curves, settings."""
    check_trained(model, "report")
    wanted = read_part(part)
    run = read_run_options(device, precision)
    folder = Path(model) if Path(model).is_dir() else None
    if out is None:
        # A folder named like the embedded model would take its place.
        out = folder / "report.html" if folder else RUNS / f"report-{Path(model).name}.html"
    check_result(out)  # mistakes show before the heavy imports

    from cascade_clip.checkpoint.folder import load_bundle
    from cascade_clip.data.factory import open_dataset
    from cascade_clip.evaluation.measure import measure
    from cascade_clip.report.run_report import write_run_report
    from cascade_clip.support.messages import Console

    bundle = load_bundle(model)
    dataset = open_dataset(bundle.recipe.data, wanted, scenes)
    found = measure(
        bundle, bundle.recipe, dataset, part=wanted, raw_clip=raw_clip, run=run, quiet=quiet
    )
    shown = f"{out}{replaced(out)}"
    write_run_report(out, found, folder)
    Console().print(f"written: {shown}", highlight=False, markup=False, soft_wrap=True)
