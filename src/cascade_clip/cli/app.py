"""The command `cascade-clip`: what commands there are, and how errors look."""

from __future__ import annotations

import sys
import traceback
from importlib.metadata import version
from typing import Annotated

import typer

from cascade_clip.cli import (
    ablate,
    about,
    analyze,
    convert,
    data,
    demo,
    evaluate,
    export,
    label,
    report,
    segment,
    serve,
    train,
    world,
)
from cascade_clip.errors import TrainingStopped, UserError, first_line, lacks_memory
from cascade_clip.printable import printable

app = typer.Typer(
    name="cascade-clip",
    help="Zero-shot semantic segmentation with CLIP: train, evaluate and use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(segment.segment)
app.command()(demo.demo)
app.command()(serve.serve)
app.command()(label.label)
app.command()(data.prepare)
app.command()(data.check)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(report.report)
app.command()(about.recipes)
app.command()(about.info)
app.add_typer(analyze.app)
app.command()(ablate.ablate)
app.command()(export.export)
app.command()(convert.convert)
app.command()(world.picturebook)
app.command()(world.pretrain_clip)


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"cascade-clip {version('cascade-clip')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of errors.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Options of all commands; `main` takes `--debug` out of the arguments wherever it stands."""


def main() -> None:
    """Runs the command line: one line instead of a traceback for errors a user can mend."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        app(args=[argument for argument in arguments if argument != "--debug"])
    except (UserError, TrainingStopped, OSError) as error:
        if debug:
            traceback.print_exc()
        lines = (printable(line.strip()) for line in str(error).split("\n"))
        print(f"error: {' '.join(lines)}", file=sys.stderr)
        sys.exit(128 + error.signal_number if isinstance(error, TrainingStopped) else 2)
    except (MemoryError, RuntimeError) as error:
        if debug or not lacks_memory(error):
            raise
        print(
            f"error: out of memory: {first_line(error)}; take smaller pictures, batches or models",
            file=sys.stderr,
        )
        sys.exit(2)
