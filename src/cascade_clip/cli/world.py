"""`picturebook`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def picturebook(
    folder: Annotated[Path, typer.Argument(help="Output folder; new or empty.")],
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of scenes.")] = 100,
    size: Annotated[
        int, typer.Option(min=1, max=4096, help="Picture size in pixels (square).")
    ] = 96,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Generate drawn scenes with masks as a data set folder in the layout of PASCAL VOC."""
    import yaml

    from cascade_clip.data.folder import SPLIT_FILE
    from cascade_clip.picturebook import UNSEEN
    from cascade_clip.picturebook.export import export_voc
    from cascade_clip.support.messages import Console

    export_voc(folder, count, seed, size)
    (folder / SPLIT_FILE).write_text(yaml.safe_dump({"unseen": list(UNSEEN)}), encoding="utf-8")
    Console().print(f"{count} scenes in {folder}", highlight=False)
