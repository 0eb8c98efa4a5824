"""Pictures that a command could not do, at the end of its output."""

from __future__ import annotations

from collections.abc import Iterable


def tell_skipped(messages: Iterable[str]) -> None:
    """A line for each on standard error."""
    from rich.console import Console

    notes = Console(stderr=True)
    for message in messages:
        notes.print(
            f"skipped: {message}", style="yellow", highlight=False, markup=False, soft_wrap=True
        )
