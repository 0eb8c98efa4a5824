"""The command `cascade-clip`: what commands there are, and how errors look."""

from __future__ import annotations

import sys
import traceback
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from cascade_clip.errors import TrainingStopped, UserError, first_line, lacks_memory
from cascade_clip.support.printable import printable


class Listed(NamedTuple):
    """A command as `--help` lists it; its module is imported when it is run."""

    panel: str
    module: str
    summary: str


USE, DATA, TRAINING, RESEARCH = "Use a model", "Data", "Train and ship", "Research"

COMMANDS = {
    "segment": Listed(USE, "segment", "Segment pictures and videos into classes that you name."),
    "label": Listed(USE, "label", "Label a data set in the formats of annotation tools."),
    "serve": Listed(USE, "serve", "Serve a web page and a REST interface."),
    "demo": Listed(USE, "demo", "Train, evaluate and segment in a drawn world; write a report."),
    "prepare": Listed(DATA, "data", "Make masks and lists from the archives of a data set."),
    "check": Listed(DATA, "data", "Say what is wrong with a data set, and what it holds."),
    "picturebook": Listed(DATA, "world", "Draw scenes with masks into a folder."),
    "train": Listed(TRAINING, "train", "Train a model as a recipe says."),
    "evaluate": Listed(TRAINING, "evaluate", "Measure a model; write a page about it."),
    "export": Listed(TRAINING, "export", "Write a model as ONNX or torch.export file."),
    "convert": Listed(TRAINING, "convert", "Convert released checkpoints."),
    "recipes": Listed(RESEARCH, "about", "List the recipes, with what papers report for them."),
    "analyze": Listed(RESEARCH, "analyze", "Look into a model: its blocks and its stages."),
    "ablate": Listed(RESEARCH, "ablate", "Train and measure the paper's ablation tables."),
    "info": Listed(RESEARCH, "about", "Show versions, hardware and the embedded model."),
}


class LazyGroup(TyperGroup):
    """Knows its commands by `COMMANDS`, and imports the module of the one that is run."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, (panel, _, summary) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=summary, rich_help_panel=panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself instead of what is listed of it."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else _load(name), rest


def _load(name: str) -> Any:
    function = getattr(import_module(f"cascade_clip.cli.{COMMANDS[name].module}"), name, None)
    if isinstance(function, typer.Typer):
        return typer.main.get_command(function)
    loaded = typer.Typer(add_completion=False, rich_markup_mode="rich")
    assert function is not None
    loaded.command(name)(function)
    return typer.main.get_command(loaded)


app = typer.Typer(
    name="cascade-clip",
    cls=LazyGroup,
    help="Zero-shot semantic segmentation with CLIP: train, evaluate and use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


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
