"""What is printed on the terminal."""

from __future__ import annotations

from typing import Any

from rich import console
from rich.text import Text

from cascade_clip.printable import printable, printable_lines


class Console(console.Console):
    """Shows strings, also those in tables, without what a terminal would obey or hide."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable_lines(text), **options)


def notice(message: str) -> None:
    """A yellow line on standard error that a user should notice while a command runs."""
    Console(stderr=True).print(
        printable(message), style="yellow", markup=False, highlight=False, soft_wrap=True
    )
