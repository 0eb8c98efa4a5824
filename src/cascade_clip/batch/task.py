"""What is to be labelled, and how: plain values that travel to other processes and machines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Job = tuple[Path, str]
"""A picture and the name of its record."""


@dataclass(frozen=True)
class Task:
    """The settings of one labelling."""

    model: str
    classes: tuple[tuple[str, ...], ...]
    """Name and synonyms of each class."""
    background: bool | float
    """As `Segmenter` takes it."""
    min_area: int
    """Pieces with fewer pixels are no segments."""

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names, of synonyms the first."""
        return tuple(group[0] for group in self.classes)
