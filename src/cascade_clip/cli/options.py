"""Arguments and options that several commands take, each with one meaning and one help text."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from cascade_clip.batch.task import Background as BackgroundChoice
from cascade_clip.checkpoint.locate import USUAL_CLIP
from cascade_clip.checkpoint.source import METHODS
from cascade_clip.class_names import TypedClasses, parse_classes
from cascade_clip.config import PreparedName
from cascade_clip.config.training_free import DEFAULT_METHOD
from cascade_clip.errors import UserError
from cascade_clip.io.lines import read_lines
from cascade_clip.support.messages import did_you_mean

DRAWN_NOTE = (
    "note: this model uses the embedded CLIP, which knows only drawn scenes; for photographs: "
    f"--clip {USUAL_CLIP}"
)
ModelArgument = Annotated[
    str, typer.Argument(help="Run or model folder, or 'picturebook' for the embedded model.")
]
ModelOption = Annotated[
    str,
    typer.Option(
        help="Model or run folder, organisation/model or organisation/model@revision on the "
        "Hugging Face Hub, or a file written by cascade-clip export.",
        show_default="the embedded model",
    ),
]
ClipOption = Annotated[
    str | None,
    typer.Option(
        help="Any CLIP instead of a trained model, for photographs: an open_clip name such as "
        "ViT-B-16/openai, a weights file, or local-dir:FOLDER.",
        show_default="none",
    ),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        help=f"Training-free method for --clip: {', '.join(METHODS)}.", show_default=DEFAULT_METHOD
    ),
]
Pretrained = Annotated[
    str | None,
    typer.Option(
        help="Location of the model's CLIP weights: a file, a folder, or an open_clip tag.",
        show_default="the path used in training",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        help="picturebook, a prepared data set (voc20, context59, ade20k, ...), or a folder of "
        "your own.",
        show_default="as trained",
    ),
]
Root = Annotated[
    Path | None, typer.Option(help="Folder of a prepared data set.", show_default="as trained")
]
Scenes = Annotated[int | None, typer.Option(min=1, help="Number of pictures.", show_default="all")]
Seed = Annotated[int | None, typer.Option(min=0, max=9999, help="Seed of the picture book.")]
PartName = Annotated[
    str,
    typer.Option(
        "--part",
        help="test, val or calibration (calibration.txt of the data).",
    ),
]
MaskBackground = Annotated[
    Literal["ignore", "class"] | None,
    typer.Option(
        "--background",
        help="Meaning of 0 in your own masks if the first class is 1 (data.background).",
        show_default="0 is the first class",
    ),
]
Background = Annotated[
    bool, typer.Option("--background", help="Leave uncertain pixels unlabelled.")
]
BackgroundNames = Annotated[
    str | None,
    typer.Option(
        help="Leave pixels that match one of these names unlabelled: names, a file of names, usual "
        "(26 common backgrounds), or none.",
        show_default="usual with --clip and --background or a single class, else none",
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Minimum score; pixels below it stay unlabelled.",
        show_default="usually 0.5",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="cpu, cuda, cuda:1, mps (Apple).", show_default="cuda if available, else cpu"
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        help="fp32, bf16, int8 (CPU only), or auto: bf16 where the hardware supports it, else fp32."
    ),
]
InferenceSetting = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override an inference setting, e.g. inference.short_side=560 or, with --clip, "
        "inference.refine=pamr (sharper edges); repeatable.",
        show_default="the recipe's",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Hide the progress bar.")]


def check_root(data: str) -> None:
    """Raises `UserError` for --root with data that isn't a prepared data set."""
    prepared = get_args(PreparedName)
    if data not in prepared:
        raise UserError(
            f"--root is the folder of a prepared data set (--data {', '.join(prepared)}); for a "
            "folder of your own, use --data alone"
        )


def read_choices(text: str, option: str, known: Sequence[str]) -> list[str]:
    """Some of the `known` names, with commas, as an option takes them; each once.

    Raises `UserError` for none and for others.
    """
    chosen = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        hint = did_you_mean(unknown[0], known) if unknown else ""
        raise UserError(f"{option} takes any of {', '.join(known)}; got '{text}'{hint}")
    return chosen


def read_classes(text: str) -> TypedClasses:
    """Classes from a list of names with commas, or from a file of them, one a line.

    Raises `UserError` for unusable names and a file that can't be read.
    """
    return parse_classes(_content(text))


def read_background(flag: bool, threshold: float | None, names: str | None) -> BackgroundChoice:
    """What --background, --threshold and --background-names say. Raises `UserError` for a file that
    can't be read."""
    read: bool | tuple[str, ...] | None = None
    if names is not None:
        read = names == "usual" if names in ("usual", "none") else read_names(names)
    return BackgroundChoice(flag if threshold is None else threshold, read)


def read_names(text: str) -> tuple[str, ...]:
    """Names as they are, none or several, likewise."""
    content = _content(text)
    names = content.split(",") if isinstance(content, str) else content
    return tuple(name.strip() for name in names if name.strip())


def _content(text: str) -> str | list[str]:
    """The lines of the file that `text` names, if there is one; a single line may be a list with
    commas, as the text itself. Lines that begin with # are comments."""
    if not os.path.isfile(text):  # unlike Path.is_file, for a text of any length
        if text.strip().endswith(".txt"):
            raise UserError(f"no such file: {text}")
        return text
    lines = [line for line in read_lines(Path(text)) if not line.startswith("#")]
    return lines[0] if len(lines) == 1 else lines
