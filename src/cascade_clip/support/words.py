"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """`1 picture`, `2 pictures`, `2 batches`."""
    ending = "" if number == 1 else "es" if thing.endswith("ch") else "s"
    return f"{number} {thing}{ending}"
