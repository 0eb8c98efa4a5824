"""Files written whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

from cascade_clip.errors import UserError
from cascade_clip.support.messages import counted, notice

_UNFINISHED = re.compile(r"\.[0-9a-f]{32}(\..*)?")


def write_text(path: Path, text: str) -> Path:
    """`write_whole` for a text, in UTF-8.

    Lone surrogates, the bytes of file names that are not UTF-8, become `\\udce9`, as in JSON.
    """
    write = partial(Path.write_text, data=text, encoding="utf-8", errors="backslashreplace")
    return write_whole(path, write)


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Calls `write` with a temporary path beside `path`, then moves the file into place, so that an
    interrupted run, or a machine that loses its power, leaves either the old file or the new one.

    Raises `UserError` if the folder can't be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = unfinished_name(path)
        # Made here for its permissions: the umask can't be asked for while other threads run.
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            write(temporary)
            if not temporary.is_symlink():
                sync(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"can't write {path}: {error.strerror or error}") from error
    return path


def write_folder(folder: Path, write: Callable[[Path], object]) -> None:
    """As `write_whole` for a folder, which `write` fills. One that is there already is replaced
    once the new one is complete.

    Raises what `write` does, and `OSError` if the parent folder can't be written to.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished_name(folder)
    unfinished.mkdir()
    try:
        write(unfinished)
        for path in (*unfinished.rglob("*"), unfinished):
            (sync_folder if path.is_dir() else sync)(path)
        if folder.exists():
            aside = unfinished_name(folder)
            folder.rename(aside)
            unfinished.rename(folder)
            shutil.rmtree(aside)
        else:
            unfinished.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> int:
    """Makes `target` a symbolic link to `source`, or a copy where there can be none, as on Windows
    without developer mode. Returns how many bytes were copied, 0 for a link.

    Raises `OSError` if it can't be written at all.
    """
    try:
        target.symlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
        return target.stat().st_size
    return 0


def tell_of_copies(copied: Sequence[int]) -> None:
    """Says what copies in the place of links cost; `copied` are bytes, 0 for a link."""
    copies = [size for size in copied if size]
    if copies:
        notice(
            f"there can be no symbolic links here (Windows needs developer mode for them): "
            f"{counted(len(copies), 'picture')} copied, {sum(copies) / 1e6:,.1f} MB"
        )


def unfinished_name(path: Path) -> Path:
    """A hidden name beside `path` for what is to become it, new at each call."""
    return path.with_name(f".{uuid4().hex}{path.suffix}")


def clear_unfinished(paths: Iterable[Path]) -> None:
    """Deletes those that killed processes left half-written; no process may still write there."""
    for path in paths:
        if _UNFINISHED.fullmatch(path.name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def sync(file: Path) -> None:
    """Returns when the content of a file is on the disk."""
    descriptor = os.open(file, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Returns when the names in a folder are on the disk, where systems offer to wait for it."""
    if os.name != "nt":
        with suppress(OSError):  # some network file systems refuse
            sync(folder)
