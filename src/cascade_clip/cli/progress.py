"""A progress bar for pictures: how many, how fast, how long still."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SECONDS_OF_SPEED = 300.0
"""Seconds over which speed is averaged: several batches of a large model without a GPU."""

LEAST_SECONDS = 1.0
"""A rate over less says nothing."""


@contextmanager
def picture_bar(what: str, total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Shows a bar on standard error; yields the function that takes how many pictures are done."""
    with progress_with_rate(quiet, SECONDS_OF_SPEED) as progress:
        task = progress.add_task(what, total=total, rate="")
        progress.advance(task, 0)  # so that the time of the first batch counts

        def advance(pictures: int) -> None:
            progress.advance(task, pictures)
            speed = progress.tasks[0].speed
            shown = f"{speed:.1f}" if speed and speed >= 1 else f"{speed or 0:.2g}"
            progress.update(task, rate=f"{shown} pictures/s" if speed else "")

        yield advance


class Bars:
    """One progress bar, with rate and time left, for each thing that is being done."""

    def __init__(self, quiet: bool) -> None:
        self.progress = progress_with_rate(quiet)
        self.bars: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bars:  # otherwise an empty line would stand before an error
            self.progress.stop()

    def __call__(self, doing: str, done: int, total: int | None) -> None:
        if not self.bars:
            self.progress.start()
        if doing not in self.bars:
            self.bars[doing] = self.progress.add_task(doing, total=total, rate="")
        bar = self.bars[doing]
        self.progress.update(bar, completed=done, total=total)
        task = self.progress.tasks[bar]
        if task.speed and (task.elapsed or 0) > LEAST_SECONDS:
            self.progress.update(bar, rate=f"{task.speed:,.0f} files/s")


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
