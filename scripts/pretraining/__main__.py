"""`python -m scripts.pretraining OUT`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cascade_clip.errors import UserError
from scripts.pretraining.run import PretrainSettings, pretrain


def main(
    out: Annotated[Path, typer.Argument(help="Folder to write the CLIP to.")],
    seed: Annotated[int, typer.Option(help="Decides scenes and initial weights.")] = 0,
    share: Annotated[
        float, typer.Option(min=0.0005, max=10.0, help="Times the steps of the embedded CLIP.")
    ] = 1.0,
    workers: Annotated[int, typer.Option(min=0, max=1024, help="Processes that draw scenes.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
) -> None:
    """Pretrain a tiny CLIP on drawn scenes and the words for what is in them."""
    settings = replace(PretrainSettings(), seed=seed, workers=workers).shortened(share)
    weights = pretrain(out, settings, resume)
    Console().print(f"CLIP in {weights.parent}; use it with", highlight=False)
    Console().print(
        f"  cascade-clip train cascade-clip/picturebook/inductive model.clip.model=local-dir:{out}"
    )


if __name__ == "__main__":
    try:
        typer.run(main)
    except UserError as error:
        sys.exit(f"error: {error}")
