"""Text files with one entry a line. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from cascade_clip.errors import UserError


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that hold something, trimmed. Raises `UserError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows write a byte-order mark
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read: {error}") from error
    # Not `splitlines`: names may hold characters that it takes for ends of lines.
    return [line.strip() for line in text.split("\n") if line.strip()]
