"""`picturebook` and `pretrain-clip`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def picturebook(
    folder: Annotated[Path, typer.Argument(help="Folder to write; new or empty.")],
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of scenes.")] = 100,
    size: Annotated[
        int, typer.Option(min=1, max=4096, help="Side of the pictures in pixels.")
    ] = 96,
    seed: Annotated[int, typer.Option(help="Number of the book.")] = 0,
) -> None:
    """Draw scenes of the picture book into a data set folder (layout of PASCAL VOC)."""
    import yaml

    from cascade_clip.data.folder import SPLIT_FILE
    from cascade_clip.data.picturebook import UNSEEN
    from cascade_clip.data.picturebook.export import export_voc
    from cascade_clip.notices import Console

    export_voc(folder, count, seed, size)
    (folder / SPLIT_FILE).write_text(yaml.safe_dump({"unseen": list(UNSEEN)}), encoding="utf-8")
    Console().print(f"{count} scenes in {folder}", highlight=False)


def pretrain_clip(
    out: Annotated[Path, typer.Argument(help="Folder to write the CLIP to.")],
    seed: Annotated[int, typer.Option(help="Decides scenes and initial weights.")] = 0,
    share: Annotated[
        float, typer.Option(min=0.0005, max=10.0, help="Times the steps of the embedded CLIP.")
    ] = 1.0,
    workers: Annotated[int, typer.Option(min=0, max=1024, help="Processes that draw scenes.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
) -> None:
    """Pretrain a tiny CLIP on drawn scenes and the words for what is in them."""
    from dataclasses import replace

    from cascade_clip.clip.pretraining.run import PretrainSettings, pretrain
    from cascade_clip.notices import Console

    settings = replace(PretrainSettings(), seed=seed, workers=workers).shortened(share)
    weights = pretrain(out, settings, resume)
    Console().print(f"CLIP in {weights.parent}; use it with", highlight=False)
    Console().print(f"  cascade-clip train picturebook-inductive model.clip.model=local-dir:{out}")
