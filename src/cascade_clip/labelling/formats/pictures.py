"""Pictures beside their labels."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Literal

from cascade_clip.imageio import write_whole
from cascade_clip.labelling.records import Record
from cascade_clip.picture_files import file_stamp

Placement = Literal["copy", "link"]


def picture_file(record: Record) -> str:
    """The picture's file name among the results, unique as its record's name is."""
    return record.name + Path(record.picture).suffix.lower()


def place_picture(record: Record, folder: Path, placement: Placement) -> None:
    """Puts the picture into `folder`: as a copy, or as a symbolic link to where it lies. What is
    there and is something else, as an older copy, is replaced."""
    source, target = Path(record.picture), folder / picture_file(record)
    if placement == "link":
        if not (target.is_symlink() and target.readlink() == source):
            write_whole(target, partial(_link, source))
    elif target.is_symlink() or file_stamp(target) != record.stamp:
        write_whole(target, partial(_copy, source))


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    facts = source.stat()
    os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # tells whether it is up to date


def _link(source: Path, target: Path) -> None:
    target.unlink()  # the empty file of `write_whole`
    target.symlink_to(source)
