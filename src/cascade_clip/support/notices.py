"""What a user should notice while a command runs."""

from __future__ import annotations

from rich.console import Console


def notice(message: str) -> None:
    """A yellow line on standard error."""
    Console(stderr=True).print(
        message, style="yellow", markup=False, highlight=False, soft_wrap=True
    )
