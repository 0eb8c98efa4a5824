"""From what was typed (files, folders, globs) to picture files and the names of their results."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from cascade_clip.errors import UserError
from cascade_clip.imageio import PICTURE_SUFFIXES


def find_pictures(patterns: Sequence[str], out: Path) -> list[Path]:
    """Picture files in the order typed, each once; folders give what lies in them, sorted.

    Of folders, only files with a picture's suffix are taken, and nothing that lies in `out`.

    Raises `UserError` for a path that doesn't exist and a pattern or folder without pictures.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            files = [file for file in _in_folder(path) if not _lies_in(file, out, path)]
            if not files:
                raise UserError(
                    f"no pictures in the folder {path} (looked for "
                    f"{', '.join(sorted(PICTURE_SUFFIXES))})"
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
        found.update(dict.fromkeys(files))
    if not found:
        raise UserError("no pictures given; name files, folders or patterns such as 'photos/*.jpg'")
    return list(found)


def result_names(pictures: Sequence[Path]) -> list[str]:
    """A file stem for the results of each picture; equal ones are numbered."""
    taken: set[str] = set()
    names = []
    for picture in pictures:
        name, number = picture.stem, 2
        while name in taken:
            name, number = f"{picture.stem}-{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


def _in_folder(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file()
    )


def _lies_in(file: Path, out: Path, folder: Path) -> bool:
    """Whether the file is a result of an earlier run in a folder below the one searched."""
    inside = out.resolve()
    return inside != folder.resolve() and file.resolve().is_relative_to(inside)
