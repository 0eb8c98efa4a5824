"""Pictures beside their labels."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Literal

from cascade_clip.imageio import write_whole
from cascade_clip.labelling.records import Record

Placement = Literal["copy", "link"]


def picture_file(record: Record) -> str:
    """The picture's file name among the results, unique as its record's name is."""
    return record.name + Path(record.picture).suffix.lower()


def place_picture(record: Record, folder: Path, placement: Placement) -> None:
    """Puts the picture into `folder`: as a copy, or as a symbolic link to where it lies."""
    target = folder / picture_file(record)
    if target.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    if placement == "link":
        os.symlink(Path(record.picture).resolve(), target)
    else:
        write_whole(target, partial(shutil.copyfile, record.picture))
