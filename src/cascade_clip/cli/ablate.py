"""`ablate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade_clip.cli.progress import progress_with_rate

if TYPE_CHECKING:
    from cascade_clip.analysis.ablation.report import TableResult
    from cascade_clip.analysis.ablation.runner import AblationPlan
    from cascade_clip.analysis.ablation.tables import AblationTable


def ablate(
    tables: Annotated[
        list[str],
        typer.Argument(
            metavar="TABLE... [KEY=VALUE]...",
            help="methods, family, improved, stages, blocks-per-stage, aggregation, queries, "
            "prompts, sigma, focal-weight, projection, or all; plus overrides for all variants.",
        ),
    ],
    recipe: Annotated[
        str, typer.Option(help="Base recipe.")
    ] = "cascade-clip/picturebook/inductive",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps per run.", show_default="the recipe's")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Runs per variant.")] = 3,
    pictures: Annotated[int, typer.Option(min=1, help="Number of test pictures.")] = 200,
    budget: Annotated[
        float | None,
        typer.Option(min=0.1, help="Time limit in minutes; seeds and steps are reduced to fit."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Parallel runs.", show_default="one per core, or 1 on a GPU"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("runs/ablations"),
    markdown: Annotated[
        Path | None,
        typer.Option(
            help="Also write the tables to this Markdown file, and plots to images/ next to it."
        ),
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Print the estimated time and exit.")
    ] = False,
) -> None:
    """Train and evaluate the variants of the paper's ablation tables.

    Completed runs in --out are reused, so rerun an interrupted command to resume it. Each table is
    written as soon as its last run finishes.
    """
    from cascade_clip.analysis.ablation.runner import AblationPlan
    from cascade_clip.analysis.ablation.tables import read_tables
    from cascade_clip.config.recipes import load_recipe

    settings = tuple(word for word in tables if "=" in word)
    chosen = read_tables([word for word in tables if "=" not in word])
    base = load_recipe(recipe, settings)
    plan = AblationPlan(
        recipe, settings, steps or base.train.steps, seeds, pictures, out, jobs or _side_by_side()
    )
    plan = _within_budget(plan, chosen, budget, estimate)
    if not estimate:
        _train(plan, chosen, markdown)
        _report(plan, chosen, markdown)


def _side_by_side() -> int:
    """One run for each core, or a single one on a GPU."""
    import os

    import torch

    return 1 if torch.cuda.is_available() else os.cpu_count() or 1


def _within_budget(
    plan: AblationPlan, tables: list[AblationTable], budget: float | None, estimate: bool
) -> AblationPlan:
    """The plan, made smaller where a budget asks for it; prints the estimated time."""
    from cascade_clip.analysis.ablation.budget import fit, trial
    from cascade_clip.analysis.ablation.runner import all_runs
    from cascade_clip.support.messages import Console, counted

    console = Console(stderr=True)
    runs = all_runs(plan, tables)
    left = sum(run.result() is None for run in runs)
    if not left and budget is None and not estimate:
        return plan
    with console.status("measuring how long a step takes"):
        cost = trial(plan)
    wanted = plan
    if budget is not None:
        plan = fit(plan, tables, cost, 60 * budget)
        runs = all_runs(plan, tables)
        left = sum(run.result() is None for run in runs)
    size = f"{counted(plan.seeds, 'seed')}, {counted(plan.steps, 'step')}"
    if plan != wanted:
        size += f"; {wanted.seeds} and {wanted.steps} don't fit into {budget:g} minutes"
    console.print(
        f"{left} of {counted(len(runs), 'run')} to do ({size}), about "
        f"{_duration(cost.seconds(plan, left))}",
        highlight=False,
    )
    return plan


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _train(plan: AblationPlan, tables: list[AblationTable], markdown_file: Path | None) -> None:
    import signal

    from cascade_clip.analysis.ablation.report import finished
    from cascade_clip.analysis.ablation.runner import COLUMNS, Row, Run, all_runs, carry_out
    from cascade_clip.errors import TrainingStopped
    from cascade_clip.support.messages import notice

    runs = all_runs(plan, tables)
    done = sum(run.result() is not None for run in runs)
    written = 0
    # Runs end minutes apart: the speed is that of the whole command, not of the last seconds.
    with progress_with_rate(quiet=False, seconds_of_speed=10**6) as progress:
        task = progress.add_task("runs", total=len(runs), completed=done, rate="")
        progress.advance(task, 0)  # so that the time of the first run counts

        def advance(run: Run, row: Row) -> None:
            nonlocal written
            progress.advance(task)
            speed = progress.tasks[0].speed
            progress.update(task, rate=f"{60 * speed:.1f} a minute" if speed else "")
            metrics = "  ".join(f"{column} {row[column]:.1f}" for column in COLUMNS)
            progress.console.print(
                f"{run.name}: {metrics}", highlight=False, markup=False, soft_wrap=True
            )
            results = finished(plan, tables)
            if len(results) > written:
                written = len(results)
                _write(plan, results, markdown_file)

        try:
            carry_out(runs, plan.jobs, advance)
        except (KeyboardInterrupt, TrainingStopped):
            notice("stopped; the same command goes on")
            raise typer.Exit(128 + signal.SIGINT) from None


def _report(plan: AblationPlan, tables: list[AblationTable], markdown_file: Path | None) -> None:
    from rich.table import Table

    from cascade_clip.analysis.ablation.report import cells, finished
    from cascade_clip.analysis.ablation.verdict import verdict
    from cascade_clip.support.messages import Console

    results = finished(plan, tables)
    console = Console()
    for result in results:
        header, body = cells(result)
        shown = Table(title=result.table.title)
        for index, name in enumerate(header):
            shown.add_column(name, justify="right" if index else "left")
        for line in body:
            shown.add_row(*line)
        console.print(shown, verdict(result.measured()), highlight=False)
    for path in _write(plan, results, markdown_file):
        console.print(f"written: {path}", highlight=False, markup=False)


def _write(
    plan: AblationPlan, results: list[TableResult], markdown_file: Path | None
) -> list[Path]:
    """Writes the page and the Markdown; returns the files."""
    from cascade_clip.analysis.ablation.report import markdown, page, write_figures
    from cascade_clip.io.files import write_text

    text = markdown(plan, results, _command(plan, [result.table for result in results]))
    files = {plan.out / "ablations.html": page(plan, results)}
    for path in filter(None, (plan.out / "ablations.md", markdown_file)):
        write_figures(path.parent, results)
        files[path] = text
    for path, content in files.items():
        write_text(path, content)
    return list(files)


def _command(plan: AblationPlan, tables: list[AblationTable]) -> str:
    """What to type for these results."""
    from cascade_clip.analysis.ablation.tables import TABLES

    names = ["all"] if len(tables) == len(TABLES) else [table.name for table in tables]
    return " ".join(
        [
            "cascade-clip ablate", *names, *plan.settings, f"--recipe {plan.recipe}",
            f"--steps {plan.steps} --seeds {plan.seeds} --pictures {plan.pictures}",
        ]
    )  # fmt: skip
