"""How far training is, how fast it goes and how long it still takes, in one line."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from cascade_clip.support.messages import Console
from cascade_clip.training.module import TrainingModule

WINDOW = 30.0
"""Seconds over which steps per second are counted."""
TEXT_WIDTH = 90
"""Characters of the longest line without a bar."""
LINES = 20
"""Lines that a whole run leaves in a log file, where no bar can be drawn."""


class Pace:
    """Steps per second, time elapsed and time left of a run of `total` steps.

    `done` steps were done before, when `now` (in seconds) was: they say nothing about the pace.
    """

    def __init__(self, total: int, done: int, now: float) -> None:
        self.total = total
        self.begin = now
        self.recent = deque([(now, done)])
        self.first: tuple[float, int] | None = None

    def update(self, done: int, now: float) -> None:
        """Notes that `done` steps were done when `now` was."""
        # The first step also warms up; the time left is judged by what comes after it.
        self.first = self.first or (now, done)
        self.recent.append((now, done))
        while len(self.recent) > 2 and self.recent[1][0] < now - WINDOW:
            self.recent.popleft()

    @property
    def steps_per_second(self) -> float | None:
        """Over the last half minute; None before anything is known."""
        return _speed(self.recent[0], self.recent[-1])

    @property
    def seconds_left(self) -> float | None:
        """At the mean speed since the first step, validations and checkpoints included."""
        last = self.recent[-1]
        speed = _speed(self.first, last) if self.first else None
        return (self.total - last[1]) / speed if speed else None

    def __str__(self) -> str:
        elapsed = f"{clock(self.recent[-1][0] - self.begin)} elapsed"
        speed, left = self.steps_per_second, self.seconds_left
        shown = [f"{self.recent[-1][1]}/{self.total} steps"]
        shown += [f"{speed:.3g}/s"] if speed else []
        shown += [elapsed if left is None else f"{elapsed}, {clock(left)} left"]
        return "  ".join(shown)


class TrainingProgress(ProgressBar):
    """One line: steps done, their pace, time elapsed and left, loss, and the newest validation in
    percent (S, U: mIoU of seen, unseen classes; h: their harmonic mean).

    A terminal shows it with a bar where there is room; a file gets some lines over the whole run.
    """

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(stderr=True)
        self._pace: Pace | None = None
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._lines = 0

    def disable(self) -> None:
        self._stop()

    def enable(self) -> None:
        """Nothing to do: the line appears when training starts."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._pace = Pace(trainer.max_steps, trainer.global_step, time.monotonic())
        self._lines = self._lines_at(trainer)
        if self._console.is_terminal:
            room = self._console.width - TEXT_WIDTH
            bar = [BarColumn(bar_width=min(room, 24))] if room >= 4 else []
            self._progress = Progress(
                *bar, TextColumn("{task.description}"), console=self._console, refresh_per_second=4
            )
            self._task = self._progress.add_task(
                str(self._pace), total=trainer.max_steps, completed=trainer.global_step
            )
            self._progress.start()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self._pace is None or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        self._pace.update(trainer.global_step, time.monotonic())
        text = "  ".join([str(self._pace), *_state(trainer)])
        if self._progress is not None:
            if self._console.width < TEXT_WIDTH:
                text = text.replace("  ", " ")
            self._progress.update(self._task, completed=trainer.global_step, description=text)
        elif self._lines_at(trainer) > self._lines:
            self._lines = self._lines_at(trainer)
            self._console.print(text, highlight=False, soft_wrap=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    @staticmethod
    def _lines_at(trainer: pl.Trainer) -> int:
        return trainer.global_step * LINES // trainer.max_steps

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def clock(seconds: float) -> str:
    """`2:10`, `1:02:10` or `3d 01:02:10` for a time in seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02}:{minutes:02}:{rest:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _speed(before: tuple[float, int], after: tuple[float, int]) -> float | None:
    seconds, steps = after[0] - before[0], after[1] - before[1]
    return steps / seconds if seconds > 0 and steps > 0 else None


def _state(trainer: pl.Trainer) -> list[str]:
    module = trainer.lightning_module
    assert isinstance(module, TrainingModule)
    shown = [] if module.last_loss is None else [f"loss {module.last_loss:.3g}"]
    if module.last_validation is not None:
        result = module.last_validation
        values = {"S": result.miou_seen, "U": result.miou_unseen, "h": result.hiou}
        shown.append(" ".join(f"{name} {100 * value:.0f}" for name, value in values.items()))
    return shown
