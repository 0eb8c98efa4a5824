"""What happens around the training steps: checkpoints, graceful stops, the progress bar."""

from __future__ import annotations

import signal
import threading
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ProgressBar
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from cascade_clip.errors import TrainingStopped, UserError
from cascade_clip.training.module import TrainingModule

LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
DAMAGED = (
    OSError, RuntimeError, EOFError, ValueError, KeyError, UnpicklingError, zipfile.BadZipFile,
)  # fmt: skip
"""What reading a truncated or overwritten checkpoint raises."""


class Checkpoints(Callback):
    """Writes `last.ckpt` every so many steps and when SIGINT or SIGTERM asks to stop.

    A checkpoint takes its name only when it is complete, and the one before stays as
    `previous.ckpt`. A second SIGINT doesn't wait for the step.

    Raises `TrainingStopped` after a signal, and `UserError` if a checkpoint can't be written or
    the weights are no longer finite; older checkpoints are left alone then.
    """

    def __init__(self, run: Path, every: int) -> None:
        self.run = run
        self.folder = run / "checkpoints"
        self.every = every
        self.signal_number = 0
        self.stopping = False
        self.handlers: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            # Set here, as Lightning sets its own before this hook and takes them back afterwards.
            for number in (signal.SIGINT, signal.SIGTERM):
                self.handlers[number] = signal.signal(number, self._note)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        # All processes have to agree: saving is a common act.
        stop = trainer.strategy.reduce_boolean_decision(bool(self.signal_number), all=False)
        if stop or trainer.global_step % self.every == 0:
            self._save(trainer, pl_module)
        self.stopping = stop

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        # Not right after saving, so that the step's logs and validation still happen.
        if self.stopping:
            raise TrainingStopped(
                f"stopped after step {trainer.global_step} of {trainer.max_steps}; go on with: "
                f"cascade-clip train {self.run / 'recipe.yaml'} --out {self.run} --resume",
                self.signal_number or signal.SIGTERM,
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restore_handlers()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._restore_handlers()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        if signal.SIGINT in self.handlers:
            signal.signal(signal.SIGINT, self.handlers.pop(signal.SIGINT))

    def _restore_handlers(self) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}

    def _save(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        step = trainer.global_step
        for name, value in pl_module.state_dict().items():
            if not bool(torch.isfinite(value).all()):
                raise UserError(
                    f"training diverged: {name} is no longer finite after step {step}; lower "
                    f"train.lr. Older checkpoints in {self.folder} are intact"
                )
        unfinished = self.folder / f"{LAST}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            trainer.save_checkpoint(unfinished)
            if trainer.is_global_zero:
                last = self.folder / LAST
                if last.exists():
                    last.replace(self.folder / PREVIOUS)
                unfinished.replace(last)
        except OSError as error:
            raise UserError(
                f"the checkpoint of step {step} can't be written to {self.folder}: {error}; older "
                "checkpoints there are intact, go on with --resume"
            ) from error
        trainer.strategy.barrier("checkpoint")


def newest_checkpoint(run: Path) -> tuple[Path, int]:
    """The newest readable checkpoint of a run, and after how many steps it was taken.

    Raises `UserError` if there is none.
    """
    for path in (run / "checkpoints" / LAST, run / "checkpoints" / PREVIOUS):
        try:
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            return path, int(checkpoint["global_step"])
        except FileNotFoundError:
            continue
        except DAMAGED as error:
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            message = f"[yellow]{path} can't be read ({what}); trying an older one"
            Console(stderr=True).print(message, highlight=False)
    raise UserError(f"{run / 'checkpoints'} holds no readable checkpoint; start without --resume")


class TrainingProgress(ProgressBar):
    """One line of at most 80 characters: step of steps, steps per second, time left, loss, and the
    newest validation in percent (S, U: mIoU of seen, unseen classes; h: their harmonic mean)."""

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def disable(self) -> None:
        self._stop()

    def enable(self) -> None:
        """Nothing to do: the line appears when training starts."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        self._progress = Progress(
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
            console=Console(stderr=True),
            refresh_per_second=4,
        )
        self._task = self._progress.add_task(
            "training", total=trainer.max_steps, completed=trainer.global_step, rate="", state=""
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
        if self._progress is None:
            return
        self._progress.update(self._task, completed=trainer.global_step)
        speed = self._progress.tasks[0].speed
        self._progress.update(
            self._task, rate=f"{speed:.2f} steps/s" if speed else "", state=_state(trainer)
        )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _state(trainer: pl.Trainer) -> str:
    module = trainer.lightning_module
    assert isinstance(module, TrainingModule)
    shown = []
    if module.last_loss is not None:
        shown.append(f"loss {module.last_loss:.2f}")
    if module.last_validation is not None:
        result = module.last_validation
        values = {"S": result.miou_seen, "U": result.miou_unseen, "h": result.hiou}
        shown += [f"{name} {100 * value:.0f}" for name, value in values.items()]
    return " ".join(shown)
