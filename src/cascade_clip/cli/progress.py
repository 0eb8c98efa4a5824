"""A progress bar for pictures: how many, how fast, how long still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

SECONDS_OF_SPEED = 300.0
"""Seconds over which speed is averaged: several batches of a large model without a GPU."""


@contextmanager
def picture_bar(what: str, total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Shows a bar on standard error; yields the function that takes how many pictures are done."""
    with progress_with_rate(quiet, SECONDS_OF_SPEED) as progress:
        task = progress.add_task(what, total=total, rate="")
        progress.advance(task, 0)  # so that the time of the first batch counts

        def advance(pictures: int) -> None:
            progress.advance(task, pictures)
            speed = progress.tasks[0].speed
            progress.update(task, rate=f"{speed:.1f} pictures/s" if speed else "")

        yield advance


def progress_with_rate(quiet: bool, seconds_of_speed: float = 30.0) -> Progress:
    """Bars on standard error; each has a field `rate`, a text of its own. Speed is that of the last
    `seconds_of_speed`."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from cascade_clip.support.messages import Console

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet,
        speed_estimate_period=seconds_of_speed,
    )
