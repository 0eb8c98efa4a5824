"""`demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade_clip.cli.options import Quiet

if TYPE_CHECKING:
    from rich.table import Table

    from cascade_clip.cli.demo_run import DemoResult


def demo(
    out: Annotated[Path, typer.Option(help="Output folder for the report and models.")] = Path(
        "runs/demo"
    ),
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Training steps of each method.", show_default="300"),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few steps and scenes: a smoke test.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train on drawn scenes, evaluate, segment, and write an illustrated report."""
    from cascade_clip.cli.demo_run import DemoSettings, run_demo
    from cascade_clip.support.messages import Console

    settings = DemoSettings.quick() if quick else DemoSettings()
    if steps is not None:
        settings = settings.with_steps(steps)
    result = run_demo(out, settings, quiet=quiet)
    console = Console()
    console.print(_demo_table(result))
    console.print(f"report: {result.report}", highlight=False, markup=False, soft_wrap=True)


def _demo_table(result: DemoResult) -> Table:
    """Methods by pAcc, S, U, h, then S and U of things and of stuff; percent."""
    from rich.table import Table

    from cascade_clip.cli.demo_run import GROUPS
    from cascade_clip.report.sections import group_scores, percent

    table = Table(title="percent; S, U: mIoU of seen, unseen classes; h: their harmonic mean")
    table.add_column("method")
    groups = [f"{group} {kind}" for group in GROUPS for kind in ("S", "U")]
    for column in ("pAcc", "S", "U", "h", *groups):
        table.add_column(column, justify="right")
    for name, m in result.rows.items():
        values = [m.pixel_accuracy, m.miou_seen, m.miou_unseen, m.hiou]
        for members in GROUPS.values():
            scores = group_scores(m, members, result.classes.unseen)
            values += [scores.seen, scores.unseen]
        table.add_row(name, *map(percent, values))
    return table
