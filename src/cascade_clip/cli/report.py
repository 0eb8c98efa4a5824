"""`report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RUNS = Path("runs")


def report(
    model: Annotated[
        str, typer.Argument(help="Run or model folder, or 'picturebook' for the embedded model.")
    ],
    scenes: Annotated[
        int | None, typer.Option(min=1, help="How many pictures.", show_default="all")
    ] = None,
    split: Annotated[str, typer.Option(help="test, val or calibration.")] = "test",
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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Write a page about a model: metrics, classes, worst and best pictures, curves, settings."""
    from rich.console import Console

    from cascade_clip.checkpoint.native import load_bundle
    from cascade_clip.evaluation.measure import measure
    from cascade_clip.evaluation.run_report import write_run_report

    bundle = load_bundle(model)
    folder = Path(model) if Path(model).is_dir() else None
    found = measure(
        bundle, bundle.recipe, split=split, pictures=scenes, raw_clip=raw_clip, quiet=quiet
    )
    if out is None:
        # A folder named like the embedded model would take its place.
        out = folder / "report.html" if folder else RUNS / f"report-{Path(model).name}.html"
    page = write_run_report(out, found, folder)
    Console().print(f"written: {page}", highlight=False)
