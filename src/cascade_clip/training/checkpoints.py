"""What a run writes on the way: models to keep, and checkpoints to go on from.

Checkpoints are written whole, also when a signal asks to stop, and the newest is found again.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO

from cascade_clip.checkpoint.folder import names_not_finite
from cascade_clip.config import TrainSettings
from cascade_clip.errors import TrainingFailed, TrainingStopped, UserError, first_line
from cascade_clip.io.files import sync_folder
from cascade_clip.support.messages import notice, some_of
from cascade_clip.training.sanity.findings import Finding

LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
_NEEDED = ("global_step", "state_dict", "loops", "optimizer_states", "lr_schedulers")


class CheckpointFile(TorchCheckpointIO):
    """Writes straight to the file, where Lightning goes through the folder for temporary files,
    which may be small and on another disk. Raises `OSError` if there is no room."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with open(path, "wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())


class Checkpoints(Callback):
    """Writes `last.ckpt` every few steps and when SIGINT or SIGTERM asks to stop.

    A checkpoint takes its name only when it is complete, and the one before stays as
    `previous.ckpt`. A second SIGINT doesn't wait for the step. What happens here, happens to all
    processes of a run alike: none is left waiting for another.

    Raises `TrainingStopped` after a signal, and `TrainingFailed` if a checkpoint can't be written
    or the weights are no longer finite; older checkpoints are left alone then.
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
        for name in names_not_finite(pl_module.state_dict()):
            raise TrainingFailed(
                f"training diverged: {name} is no longer finite after step {step}; lower "
                f"train.lr. Older checkpoints in {self.folder} are intact"
            )
        problem = trainer.strategy.broadcast(self._write(trainer))
        if problem:
            raise TrainingFailed(
                f"the checkpoint of step {step} can't be written to {self.folder}: {problem}; "
                "older checkpoints there are intact: make room, then go on with --resume"
            )

    def _write(self, trainer: pl.Trainer) -> str:
        """Why the checkpoint could not be written, known to the first process; empty if it was."""
        unfinished = self.folder / f"{LAST}.part"
        try:
            if trainer.is_global_zero:
                self.folder.mkdir(parents=True, exist_ok=True)
            trainer.save_checkpoint(unfinished)
        except OSError as error:
            # Only the first process writes. The others have entered the barrier with which
            # `save_checkpoint` ends; it is joined here.
            trainer.strategy.barrier("checkpoint")
            unfinished.unlink(missing_ok=True)
            return str(error)
        try:
            if trainer.is_global_zero:
                last = self.folder / LAST
                if last.exists():
                    last.replace(self.folder / PREVIOUS)
                unfinished.replace(last)
                sync_folder(self.folder)
        except OSError as error:
            return str(error)
        return ""


class KeptModels(Callback):
    """Writes the model as it is after each of `steps` to the folder `RUN/model-STEP`.

    Belongs before `Checkpoints` in the list of callbacks: otherwise a run that is stopped between
    the two would be resumed without the model.

    `save` is called in the first process; what it returns is why the model could not be written.

    Raises `TrainingFailed` in all processes then.
    """

    def __init__(self, run: Path, steps: Sequence[int], save: Callable[[Path], str]) -> None:
        self.run = run
        self.steps = steps
        self.save = save

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        step = trainer.global_step
        if step not in self.steps or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        problem = self.save(self.run / f"model-{step}") if trainer.is_global_zero else ""
        problem = trainer.strategy.broadcast(problem)
        if problem:
            raise TrainingFailed(f"{problem}; go on with --resume")


def check_reached(settings: TrainSettings) -> list[Finding]:
    """For the sanity report: steps after which no model is kept, as the run ends before them."""
    beyond = [str(step) for step in settings.keep_model_at if step > settings.steps]
    if not beyond:
        return []
    detail = (
        f"none after step {', '.join(beyond)}, as the run ends after {settings.steps}; "
        f"train.keep_model_at=[{settings.steps // 2}] keeps the one at half time, from which "
        "self-training starts"
    )
    return [Finding("models kept on the way", "note", detail)]


def has_checkpoint(run: Path) -> bool:
    """Whether the run has ever written one."""
    return any(path.is_file() for path in _checkpoints(run))


def newest_checkpoint(run: Path, weights: Collection[str] | None = None) -> tuple[Path, int]:
    """The newest readable checkpoint of a run, and after how many steps it was taken. `weights` are
    the names of those that it has to hold; None: any.

    Raises `UserError` if there is none.
    """
    for path in _checkpoints(run):
        try:
            return path, _steps_done(path, weights)
        except FileNotFoundError:
            continue
        except UserError as error:
            notice(f"{error}; trying an older one")
    raise UserError(
        f"{run / 'checkpoints'} holds no readable checkpoint; start anew in another --out"
    )


def _steps_done(path: Path, weights: Collection[str] | None) -> int:
    checkpoint = read_checkpoint(path)
    lacking = [name for name in _NEEDED if name not in checkpoint]
    stored = checkpoint.get("state_dict")
    if isinstance(stored, dict) and weights is not None:
        lacking += sorted({*weights} - {*stored})
    if lacking:
        raise UserError(f"{path} is not complete: it lacks {some_of(lacking, 3)}")
    return int(checkpoint["global_step"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What Lightning stored. Raises `UserError` for other and damaged files, and
    `FileNotFoundError`."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file makes the unpickler raise almost anything
        # PyTorch's advice would be to run the code that a file may hold.
        refused = isinstance(error, pickle.UnpicklingError)
        reason = "no checkpoint, or a damaged one" if refused else first_line(error)
        raise UserError(f"{path} can't be read: {reason}") from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"{path} can't be read: no checkpoint")
    return checkpoint


def _checkpoints(run: Path) -> tuple[Path, Path]:
    return run / "checkpoints" / LAST, run / "checkpoints" / PREVIOUS
