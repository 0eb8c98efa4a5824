"""Files that the page needs for a while: uploads, masks, downloads."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

EXAMPLES = "examples"
"""Folder within the page's whose files stay."""
SECONDS_KEPT = 3600.0
_SECONDS_BETWEEN_SWEEPS = 300.0
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


def sweep(folder: Path, seconds: float = SECONDS_KEPT) -> None:
    """Deletes files in `folder` that are older than `seconds`, except the examples."""
    oldest = time.time() - seconds
    for file in folder.rglob("*"):
        stays = folder / EXAMPLES in file.parents or not file.is_file()
        if not stays and file.stat().st_mtime < oldest:
            file.unlink(missing_ok=True)


def _sweep_until(ended: threading.Event, folder: Path) -> None:
    while not ended.wait(_SECONDS_BETWEEN_SWEEPS):
        sweep(folder)
