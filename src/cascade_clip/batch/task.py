"""What is made of each picture, and where it goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cascade_clip.checkpoint.options import RunOptions
from cascade_clip.checkpoint.source import ModelSource


@dataclass(frozen=True)
class Background:
    """Which pixels have no class."""

    threshold: bool | float = False
    """`background` of a `Segmenter`."""
    names: bool | tuple[str, ...] | None = None
    """Its `background_names`."""


@dataclass(frozen=True)
class Task:
    """Plain values, which travel to other processes and machines."""

    model: ModelSource
    classes: tuple[tuple[str, ...], ...] | None
    """Name and synonyms of each class; None: those of the model's training."""
    background: Background
    out: Path
    formats: tuple[str, ...]
    """Results of each picture: of those in `result_files`, and `coco`."""
    min_area: int | None = None
    """Segments are connected pieces of at least this many pixels; None: whole classes, and only
    where `coco` asks for them."""
    run: RunOptions = field(default_factory=RunOptions)
    """How the model is run."""
