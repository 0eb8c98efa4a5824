from __future__ import annotations

import io
import os

from rich.table import Table

from cascade_clip.support.messages import Console
from cascade_clip.support.printable import unshown


def test_no_string_reaches_the_terminal_as_a_command() -> None:
    name = os.fsdecode(b"caf\xe9\x1b[31m")
    table = Table("name\x1b[2J")
    table.add_row(name)
    written = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    console = Console(file=written, width=80)
    console.print(f"one line: {name}\nanother")
    console.print(table)
    written.seek(0)
    lines = written.read().split("\n")
    assert not any(map(unshown, lines))
    assert lines[:2] == [r"one line: caf\xe9\x1b[31m", "another"]
