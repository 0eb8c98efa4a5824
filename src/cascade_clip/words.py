"""Numbers and lists in sentences."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, thing: str) -> str:
    """`1 picture`, `2 pictures`, `2 batches`."""
    ending = "" if number == 1 else "es" if thing.endswith("ch") else "s"
    return f"{number} {thing}{ending}"


def some_of(parts: Sequence[str], most: int = 30, between: str = ", ") -> str:
    """Names for a message: all, or the first and how many there are besides."""
    if len(parts) <= most:
        return between.join(parts)
    rest = len(parts) - most
    return f"{between.join(parts[:most])} and {rest:,} other{'' if rest == 1 else 's'}"
