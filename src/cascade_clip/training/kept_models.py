"""Models kept on the way, besides the one at the end of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from cascade_clip.config import TrainSettings
from cascade_clip.errors import TrainingFailed
from cascade_clip.training.sanity.findings import Finding


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
