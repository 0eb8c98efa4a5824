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
    examples: tuple[str, ...]
    """Arguments and options of whole commands, for the command's own `--help`."""


USE, DATA, TRAINING, RESEARCH = "Use a model", "Data", "Train and ship", "Research"

COMMANDS = {
    "segment": Listed(
        USE,
        "segment",
        "Segment pictures and videos into the classes you name.",
        (
            'holiday.jpg --clip ViT-B-16/openai --classes "dog, sofa|couch, person, wall"',
            "photos --clip ViT-B-16/openai --classes names.txt --background --save labels,coco",
            'street.mp4 --fps 2 --model runs/mine --classes "car, road, sky"',
        ),
    ),
    "label": Listed(
        USE,
        "label",
        "Label a data set in the formats of annotation tools.",
        (
            'photos --clip ViT-B-16/openai --classes "cat, dog, grass" --format coco,yolo-seg',
            "photos --model runs/mine --classes names.txt --format cvat --out labelled",
        ),
    ),
    "serve": Listed(
        USE,
        "serve",
        "Serve a web page and a REST API.",
        ("--clip ViT-B-16/openai", "--model runs/mine --port 8000"),
    ),
    "demo": Listed(
        USE,
        "demo",
        "Train, evaluate and segment on drawn scenes; write a report.",
        ("", "--quick --out runs/quick"),
    ),
    "prepare": Listed(
        DATA,
        "data",
        "Convert a downloaded data set to masks and split lists.",
        ("folder my-data --from export/", "voc data/voc", "ade20k data/ade20k"),
    ),
    "check": Listed(
        DATA,
        "data",
        "Validate a data set and summarise its contents.",
        ("my-data", "data/voc --name voc20 --json problems.json"),
    ),
    "picturebook": Listed(
        DATA, "world", "Generate drawn scenes with masks.", ("scenes --count 200 --size 192",)
    ),
    "train": Listed(
        TRAINING,
        "train",
        "Train a model from a recipe.",
        (
            "cascade-clip/picturebook train.steps=300",
            "cascade-clip/voc20/inductive data.root=data/voc train.devices=4",
            "cascade-clip/folder data.root=my-data train.steps=5000",
        ),
    ),
    "evaluate": Listed(
        TRAINING,
        "evaluate",
        "Evaluate a model and write an HTML report.",
        (
            "picturebook --raw-clip",
            "runs/mine --data ade20k --root data/ade20k",
            "--clip ViT-B-16/openai --method all --data voc20 --root data/voc",
        ),
    ),
    "export": Listed(
        TRAINING,
        "export",
        "Export a model to ONNX or torch.export.",
        (
            "runs/mine --out mine.onnx",
            '--clip ViT-B-16/openai --classes "cat, dog, grass" --out pets.onnx',
        ),
    ),
    "convert": Listed(
        TRAINING,
        "convert",
        "Convert released checkpoints.",
        ("cascade_clip_voc.pth models/voc",),
    ),
    "recipes": Listed(
        RESEARCH,
        "about",
        "List recipes; given a filter, also show published results.",
        ("voc20", "zegclip", "--published"),
    ),
    "analyze": Listed(
        RESEARCH,
        "analyze",
        "Inspect a model: block similarity, localization, per-stage results.",
        ("cka picturebook", "stages runs/mine --against raw-clip"),
    ),
    "ablate": Listed(
        RESEARCH,
        "ablate",
        "Train and evaluate the paper's ablation tables.",
        ("methods stages --budget 60", "all --estimate"),
    ),
    "info": Listed(RESEARCH, "about", "Show versions, hardware and the embedded model.", ("",)),
}
FIRST_STEPS = """\
Segment a photograph with any CLIP, without training (downloads about 600 MB of weights once):
  cascade-clip segment holiday.jpg --clip ViT-B-16/openai --classes "dog, sofa|couch, wall"

Try training, evaluation and segmentation on drawn scenes, with nothing to download:
  cascade-clip demo

Train on your own pictures and masks; first validate the files:
  cascade-clip check my-data

All commands: cascade-clip --help. One command, with examples: cascade-clip segment --help."""


class LazyGroup(TyperGroup):
    """Knows its commands by `COMMANDS`, and imports the module of the one that is run."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, listed in COMMANDS.items():
            self.add_command(TyperCommand(name, help=listed.summary, rich_help_panel=listed.panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command itself instead of what is listed of it."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else _load(name), rest


def _load(name: str) -> Any:
    listed = COMMANDS[name]
    loaded = getattr(import_module(f"cascade_clip.cli.{listed.module}"), name)
    if not isinstance(loaded, typer.Typer):
        function = loaded
        loaded = typer.Typer(add_completion=False, rich_markup_mode="rich")
        loaded.command(name)(function)
    command = typer.main.get_command(loaded)
    command.epilog = "\n".join(["[bold]Examples[/bold]", *examples(name)])
    return command


def examples(name: str) -> list[str]:
    """Whole command lines of a command."""
    return [f"cascade-clip {name} {given}".rstrip() for given in COMMANDS[name].examples]


app = typer.Typer(
    name="cascade-clip",
    cls=LazyGroup,
    help="Open-vocabulary and zero-shot semantic segmentation with CLIP.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"cascade-clip {version('cascade-clip')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show full tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Options of all commands; `main` takes `--debug` out of the arguments wherever it stands."""
    if context.invoked_subcommand is None:
        print(FIRST_STEPS)


def main() -> None:
    """Runs the command line: one line instead of a traceback for errors a user can mend."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        app(
            args=[argument for argument in arguments if argument != "--debug"],
            prog_name="cascade-clip",
        )
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
