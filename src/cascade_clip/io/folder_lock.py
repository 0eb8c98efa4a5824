"""One command at a time writes into a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from cascade_clip.errors import UserError
from cascade_clip.io.files import clear_unfinished

LOCK_FILE = ".cascade-clip.lock"


@dataclass(frozen=True)
class HeldFolder:
    """A folder that no other command writes into meanwhile."""

    folder: Path
    identity: tuple[int, int] | None
    """Device and inode of the lock file."""

    def check(self) -> None:
        """Raises `UserError` if the folder was removed, even if a new one has its place."""
        if self.identity is None or _identity(self.folder / LOCK_FILE) != self.identity:
            raise UserError(
                f"{self.folder} was removed or replaced while results were written into it; "
                "repeat the command"
            )


@contextmanager
def hold_folder(folder: Path, *inside: str) -> Iterator[HeldFolder]:
    """Keeps other commands out of a folder, which is made if it isn't there, and clears it and all
    below its folders `inside` of what killed commands left half-written.

    The operating system holds the lock, so it ends with the process. A folder made here goes again
    if it stays empty.

    Raises `UserError` if another command writes there, if it can't be written to, and at the end
    as `HeldFolder.check`.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"another command writes into {folder}; wait until it ends, or choose another --out"
        ) from error
    except OSError as error:
        raise UserError(f"can't write to {folder}: {error.strerror or error}") from error
    held = HeldFolder(folder, _identity(folder / LOCK_FILE))
    try:
        clear_unfinished(folder.glob(".*"))
        for name in inside:
            clear_unfinished((folder / name).rglob(".*"))
        yield held
        held.check()
    finally:
        with suppress(OSError):
            if _identity(folder / LOCK_FILE) == held.identity:
                (folder / LOCK_FILE).unlink()
            for place in made:  # the innermost first
                place.rmdir()
        lock.release()


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        facts = os.stat(file)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
