"""Files that the page needs for a while: uploads, masks, downloads."""

from __future__ import annotations

import math
import os
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

EXAMPLES = "examples"
"""Folder within the page's whose files stay."""
SECONDS_KEPT = 3600.0
LEAST_COUNTED = 65_536
"""What a smaller file counts when room is made, in bytes: many of them cost time as well."""
_SECONDS_BETWEEN_SWEEPS = 300.0
_SECONDS_EMPTY = 60.0
_VARIABLE = "GRADIO_TEMP_DIR"


@contextmanager
def page_folder() -> Iterator[Path]:
    """A new folder for the files of the page, which gradio is told to use: old files in it are
    deleted now and then, all of it at the end. To be entered before gradio is imported.
    """
    before = os.environ.get(_VARIABLE)
    ended = threading.Event()
    with tempfile.TemporaryDirectory(prefix="cascade-clip-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        os.environ[_VARIABLE] = str(folder)
        threading.Thread(
            target=_sweep_until, args=(ended, folder), name="sweeper", daemon=True
        ).start()
        try:
            yield folder
        finally:
            ended.set()
            if before is None:
                del os.environ[_VARIABLE]
            else:
                os.environ[_VARIABLE] = before


def plain_file(folder: Path, name: object) -> Path | None:
    """The file below `folder` (a resolved path) that the untrusted `name` leads to.

    None for anything that is no text, lies elsewhere or is not a plain file (folders, devices,
    pipes). Nothing outside the folder is touched to find out.
    """
    if not isinstance(name, str):
        return None
    path = Path(os.path.normpath(name))
    if not path.is_relative_to(folder):
        return None
    try:
        file = path.resolve(strict=True)
        plain = file.is_relative_to(folder) and stat.S_ISREG(file.lstat().st_mode)
    except (OSError, ValueError, RuntimeError):  # no file, no file name, links in a circle
        return None
    return file if plain else None


def sweep(folder: Path, seconds: float = SECONDS_KEPT, most_bytes: float = math.inf) -> None:
    """Deletes files in `folder` that are older than `seconds`, and the oldest until the rest holds
    at most `most_bytes` bytes, except the examples; also folders that have been empty for long."""
    now = time.time()
    files: list[tuple[float, int, Path]] = []
    for name, _, file_names in os.walk(folder, topdown=False):
        parent = Path(name)
        if folder / EXAMPLES in (parent, *parent.parents):
            continue
        for file_name in file_names:
            with suppress(OSError):  # deleted meanwhile
                found = (parent / file_name).lstat()
                files.append((found.st_mtime, found.st_size, parent / file_name))
        with suppress(OSError):  # not empty, or deleted meanwhile
            if parent != folder and parent.stat().st_mtime < now - _SECONDS_EMPTY:
                parent.rmdir()
    kept = 0
    for modified, size, file in sorted(files, reverse=True):
        kept += max(size, LEAST_COUNTED)
        if kept > most_bytes or modified < now - seconds:
            file.unlink(missing_ok=True)


def _sweep_until(ended: threading.Event, folder: Path) -> None:
    while not ended.wait(_SECONDS_BETWEEN_SWEEPS):
        sweep(folder)
