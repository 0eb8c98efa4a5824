"""From what was typed (files, folders, globs, lists) to picture files. Imports nothing heavy."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from cascade_clip.errors import UserError
from cascade_clip.io.results import without_results
from cascade_clip.support.messages import install_line

PICTURE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
"""Phones' pictures, which are read where pillow-heif is installed."""
RAW_SUFFIXES = frozenset({".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".raf", ".rw2"})
"""What cameras store before it is a picture, which is not read."""
VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})


def is_picture(file: Path) -> bool:
    """Whether a file is taken for a picture, by its suffix. Hidden files are none: macOS puts a
    `._photo.jpg` beside a `photo.jpg`, which holds no picture."""
    suffix = file.suffix.lower()
    read = suffix in PICTURE_SUFFIXES or (suffix in HEIF_SUFFIXES and reads_heif())
    return read and not file.name.startswith(".")


@cache
def reads_heif() -> bool:
    """Whether what reads HEIF is installed."""
    return find_spec("pillow_heif") is not None


def is_unread(file: Path) -> bool:
    """Whether a file is taken for a picture of a kind that can't be read."""
    unread = RAW_SUFFIXES if reads_heif() else RAW_SUFFIXES | HEIF_SUFFIXES
    return file.suffix.lower() in unread and not file.name.startswith(".")


def unread_advice(files: Sequence[Path]) -> str:
    """How many of these pictures can't be read, which, and what to do about it."""
    advice = []
    for kind, suffixes, what in (
        ("HEIF", HEIF_SUFFIXES, install_line("heif")),
        ("raw", RAW_SUFFIXES, "develop them to JPEG or TIFF"),
    ):
        if found := [file for file in files if file.suffix.lower() in suffixes]:
            more = f" and {len(found) - 1:,} more" if len(found) > 1 else ""
            advice.append(f"{kind} pictures can't be read: {found[0]}{more} ({what})")
    return "; ".join(advice)


def unread_in(patterns: Sequence[str]) -> list[Path]:
    """The pictures that can't be read in those of the `patterns` that are folders."""
    folders = (Path(pattern) for pattern in patterns)
    found = (file for folder in folders if folder.is_dir() for file in folder.rglob("*"))
    return sorted(file for file in found if is_unread(file))


def is_video(file: Path) -> bool:
    """Whether a file is taken for a video, by its suffix."""
    return file.suffix.lower() in VIDEO_SUFFIXES


def find_pictures(patterns: Sequence[str], out: Path) -> list[Path]:
    """Picture files in the order typed, each once; folders give what lies in them, sorted.

    Of folders, only files with a picture's suffix are taken, no hidden ones, nothing that lies in
    `out`, and no results of earlier runs.

    Raises `UserError` for a path that doesn't exist and a pattern or folder without pictures.
    """
    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            files = [file for file in _in_folder(path) if not _lies_in(file, out, path)]
            if not files:
                left_out = unread_in([pattern])
                raise UserError(
                    f"no pictures in the folder {path} (looked for "
                    f"{', '.join(sorted(PICTURE_SUFFIXES))}; results of segment and label are none)"
                    f"{'; ' if left_out else ''}{unread_advice(left_out)}"
                )
        elif path.exists():
            files = [path]
        elif glob.has_magic(pattern):
            files = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
            files = [file for file in files if file.is_file()]
            if not files:
                raise UserError(f"no file matches {pattern}")
        else:
            raise UserError(f"no such picture: {path}")
        found += files
    if not found:
        raise UserError("no pictures given; name files, folders or patterns such as 'photos/*.jpg'")
    return each_once(found)


def each_once(files: Iterable[Path]) -> list[Path]:
    """Files in their order, without those that another path names, too."""
    found: dict[str, Path] = {}
    for file in files:
        found.setdefault(os.path.abspath(file), file)
    return list(found.values())


def read_list(lines: Iterable[str], out: Path) -> list[Path]:
    """Files of a list, one to a line; folders as in `find_pictures`. Files need not exist: of a
    long list, the others are wanted all the same.

    Raises `UserError` for an empty list and a folder without pictures.
    """
    found: list[Path] = []
    for line in lines:
        if name := line.removeprefix("\ufeff").strip():  # a byte-order mark, as Windows writes it
            folder = Path(name).is_dir()
            found += find_pictures([name], out) if folder else [Path(name)]
    if not found:
        raise UserError("the list on standard input names no pictures; give one path to a line")
    return each_once(found)


def check_writable(folder: Path) -> None:
    """Raises `UserError` if no file can be written to a folder, which need not exist yet; leaves
    nothing behind."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, not a folder; give the folder that results go to")
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"can't write to {folder}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # another command may have put something there since
            for place in made:  # the innermost first
                place.rmdir()


def file_stamp(file: Path) -> str:
    """Changes when the file changes; "missing" if it isn't there."""
    try:
        facts = file.stat()
    except OSError:
        return "missing"  # reading it says so
    return f"{facts.st_size}-{facts.st_mtime_ns}"


def _in_folder(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.rglob("*") if is_picture(file) and file.is_file())
    return without_results(found, folder)


def _lies_in(file: Path, out: Path, folder: Path) -> bool:
    """Whether the file is a result of an earlier run in a folder below the one searched."""
    inside = out.resolve()
    return inside != folder.resolve() and file.resolve().is_relative_to(inside)
