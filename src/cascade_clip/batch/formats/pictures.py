"""Pictures beside their labels."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from PIL import Image

from cascade_clip.batch.journal import Journal, JournalEntry
from cascade_clip.batch.labels import Labels
from cascade_clip.errors import UserError
from cascade_clip.io.files import link_or_copy, tell_of_copies, write_whole
from cascade_clip.io.find import file_stamp
from cascade_clip.io.images import is_turned, read_picture
from cascade_clip.support.printable import plain_file_name

Placement = Literal["copy", "link"]
JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif"})
JPEG_QUALITY = 95


def picture_file(entry: JournalEntry) -> str:
    """The picture's file name among the results, unique as its entry's name is."""
    return entry.name + plain_file_name(Path(entry.source).suffix)


def picture_paths(journal: Journal) -> dict[str, str]:
    """The path of each picture, by its entry's name, below the folder that all lie in: what other
    tools call the pictures that were labelled. It is `picture_file` where two would be alike."""
    sources = {name: Path(entry.source) for name, entry in journal.entries.items()}
    try:
        base = Path(os.path.commonpath([source.parent for source in sources.values()]))
    except ValueError:  # none, or on several drives
        return {name: picture_file(entry) for name, entry in journal.entries.items()}
    paths: dict[str, str] = {}
    taken: set[str] = set()
    for name, source in sources.items():
        path = "/".join(map(plain_file_name, source.relative_to(base).parts))
        if path.casefold() in taken:
            path = picture_file(journal.entries[name])
        taken.add(path.casefold())
        paths[name] = path
    return paths


def place_pictures(
    labels: Labels,
    folder: Path,
    placement: Placement,
    *,
    paths: Mapping[str, str] | None = None,
    jpeg: bool = False,
) -> None:
    """Puts all pictures into `folder`: as copies, or as symbolic links to where they lie, if there
    can be any. What is there and is something else, as an older copy, is replaced. With `jpeg` all
    are `NAME.jpg`: files of other formats are written anew, as are those that `labels.upright`
    wants turned; else they lie at their `paths`, or are called as `picture_file` says."""
    remove_left_out(labels, folder, paths)
    copied: list[int] = []
    for entry in labels.entries:
        source = Path(entry.source)
        target = folder / (paths[entry.name] if paths else picture_file(entry))
        if jpeg:
            target = folder / f"{entry.name}.jpg"
        foreign = jpeg and source.suffix.lower() not in JPEG_SUFFIXES
        if foreign or (labels.upright and is_turned(source)):
            if not _is_encoded(target, entry):
                write_whole(target, partial(_encode, source))
        elif placement == "link":
            if not (target.is_symlink() and target.readlink() == source):
                write_whole(target, partial(_link, source, copied=copied))
        elif target.is_symlink() or file_stamp(target) != entry.stamp:
            write_whole(target, partial(_copy, source))
    tell_of_copies(copied)


def remove_left_out(labels: Labels, folder: Path, paths: Mapping[str, str] | None = None) -> None:
    """Removes what an earlier call wrote into `folder`, at `paths` if given, of pictures that are
    left out by now: some tools take all files of a folder. Raises `UserError`."""
    if not labels.left_out or not folder.is_dir():
        return
    try:
        if paths is not None:
            files = [folder / paths[name] for name in labels.left_out]
        else:
            files = [file for file in folder.iterdir() if file.stem in labels.left_out]
        for file in files:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"can't write to {folder}: {error.strerror or error}") from error


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    _date_as(source, target)


def _is_encoded(target: Path, entry: JournalEntry) -> bool:
    """Whether it was written anew from the file that was labelled: of its time, but no copy."""
    stamp = file_stamp(target)
    same_time = stamp.rpartition("-")[2] == entry.stamp.rpartition("-")[2]
    return same_time and stamp != entry.stamp and not target.is_symlink()


def _encode(source: Path, target: Path) -> None:
    Image.fromarray(read_picture(source)).save(target, quality=JPEG_QUALITY)
    _date_as(source, target)


def _date_as(source: Path, target: Path) -> None:
    facts = source.stat()
    os.utime(target, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # tells whether it is up to date


def _link(source: Path, target: Path, copied: list[int]) -> None:
    target.unlink()  # the empty file of `write_whole`
    copied.append(link_or_copy(source, target))
