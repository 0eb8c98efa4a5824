"""Arguments and options that several commands take, each with one meaning and one help text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cascade_clip.errors import UserError
from cascade_clip.nearest import did_you_mean

ModelArgument = Annotated[
    str, typer.Argument(help="Run or model folder, or 'picturebook' for the embedded model.")
]
ModelOption = Annotated[
    str,
    typer.Option(
        help="Model or run folder, organisation/model of the Hugging Face hub, or a file of "
        "cascade-clip export.",
        show_default="the embedded model",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        help="picturebook, voc20, context59, coco-stuff, or a folder of one's own.",
        show_default="as trained",
    ),
]
Root = Annotated[
    Path | None, typer.Option(help="Folder of a prepared data set.", show_default="as trained")
]
Scenes = Annotated[int | None, typer.Option(min=1, help="How many pictures.", show_default="all")]
Seed = Annotated[int | None, typer.Option(min=0, max=9999, help="Seed of the picture book.")]
SplitName = Annotated[
    str,
    typer.Option(
        "--split",
        help="test, val or calibration (of the picture book, or of files with calibration.txt).",
    ),
]
Background = Annotated[
    bool, typer.Option("--background", help="Leave uncertain pixels without a class.")
]
Threshold = Annotated[
    float | None,
    typer.Option(help="Score (0..1) below which a pixel has no class.", show_default="0.5"),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


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
