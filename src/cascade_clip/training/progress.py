"""How far training is, how fast it goes and how long it still takes, in one line."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import BarColumn, Progress, Task, TextColumn

from cascade_clip.evaluation.metrics import NOTHING_COUNTS
from cascade_clip.support.messages import Console
from cascade_clip.training.module import TrainingModule

WINDOW = 300.0
"""Seconds over which steps per second are counted: several steps of a large model without a GPU."""
TEXT_WIDTH = 90
"""Characters of the longest line without a bar."""
LINES = 20
"""Lines that a whole run leaves in a log file, where no bar can be drawn."""


class TrainingProgress(ProgressBar):
    """One line: steps done, their pace, time elapsed and left, loss, and the newest validation in
    percent (S, U: mIoU of seen, unseen classes; h: their harmonic mean).

    A terminal shows it with a bar where there is room; a file gets some lines over the whole run.
    """

    def __init__(self) -> None:
        super().__init__()
        console = Console(stderr=True)
        room = console.width - TEXT_WIDTH
        bar = [BarColumn(bar_width=min(room, 24))] if room >= 4 else []
        self._progress = Progress(
            *bar,
            TextColumn("{task.description}"),
            console=console,
            refresh_per_second=4,
            speed_estimate_period=WINDOW,
            disable=not console.is_terminal,
        )
        self._lines = 0

    def disable(self) -> None:
        self._progress.stop()

    def enable(self) -> None:
        """Nothing to do: the line appears when training starts."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            done = trainer.global_step  # of a resumed run; they say nothing about the pace
            self._progress.add_task("", total=trainer.max_steps, completed=done)
            self._lines = self._lines_at(trainer)
            self._progress.start()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if not self._progress.tasks or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        [task] = self._progress.tasks
        self._progress.update(task.id, completed=trainer.global_step)
        text = "  ".join([*pace(task), *_state(trainer)])
        if self._progress.console.width < TEXT_WIDTH:
            text = text.replace("  ", " ")
        self._progress.update(task.id, description=text)
        if self._progress.disable and self._lines_at(trainer) > self._lines:
            self._lines = self._lines_at(trainer)
            self._progress.console.print(text, highlight=False, soft_wrap=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._progress.stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._progress.stop()

    @staticmethod
    def _lines_at(trainer: pl.Trainer) -> int:
        return trainer.global_step * LINES // trainer.max_steps


def pace(task: Task) -> list[str]:
    """Steps done, steps per second, time elapsed and left, as far as they are known."""
    shown = [f"{task.completed:.0f}/{task.total:.0f} steps"]
    shown += [f"{task.speed:.3g}/s"] if task.speed else []
    left = "" if task.time_remaining is None else f", {_clock(task.time_remaining)} left"
    return [*shown, f"{_clock(task.elapsed or 0)} elapsed{left}"]


def _clock(seconds: float) -> str:
    """`0:02:10`, `1 day, 1:02:10`."""
    return str(timedelta(seconds=round(seconds)))


def _state(trainer: pl.Trainer) -> list[str]:
    module = trainer.lightning_module
    assert isinstance(module, TrainingModule)
    shown = [] if module.last_loss is None else [f"loss {module.last_loss:.3g}"]
    if module.last_validation is not None:
        result = module.last_validation
        values = {"S": result.miou_seen, "U": result.miou_unseen, "h": result.hiou}
        known = [f"{name} {100 * n:.0f}" for name, n in values.items() if not math.isnan(n)]
        shown.append(" ".join(known) or f"validation: {NOTHING_COUNTS}")
    return shown
