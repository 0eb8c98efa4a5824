"""Files written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import uuid4

from cascade_clip.errors import UserError


def write_text(path: Path, text: str) -> Path:
    """`write_whole` for a text, in UTF-8."""
    return write_whole(path, partial(Path.write_text, data=text, encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Calls `write` with a temporary path beside `path`, then moves the file into place, so that an
    interrupted run leaves either the old file or the new one.

    Raises `UserError` if the folder can't be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{uuid4().hex}{path.suffix}")
        # Made here for its permissions: the umask can't be asked for while other threads run.
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            write(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"can't write {path}: {error.strerror or error}") from error
    return path
