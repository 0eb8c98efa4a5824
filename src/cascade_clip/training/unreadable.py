"""Files that can't be read while training: counted, reported, and too many of them end the run."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from cascade_clip.data.samples import Batch
from cascade_clip.errors import TrainingFailed
from cascade_clip.support.messages import notice

FEWEST = 100
"""Pictures read before their share is judged."""
LARGEST_SHARE = 0.1
"""Of all pictures read; a run with more unreadable ones ends."""
EVERY = 10
"""Batches between two judgements, for which processes exchange their counts."""


class UnreadableFiles(Callback):
    """Warns once for every picture or mask that can't be read, and logs how often that happened.

    Training goes on with other pictures in their place (see `TrainStream`). The count is part of
    the checkpoints.

    Raises `TrainingFailed` in all processes if more than `LARGEST_SHARE` of `FEWEST` or more
    pictures can't be read.
    """

    def __init__(self) -> None:
        self.read = 0
        """Pictures that this process tried to read (the first one: also those before a resume)."""
        self.failed = 0
        self.warned: set[str] = set()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:  # it comes once for each part
            self.read += len(batch.images) + len(batch.unreadable)
            self.failed += len(batch.unreadable)
            self._warn(batch)
        if batch_idx % EVERY == 0:
            self._judge(trainer)
        pl_module.log("unreadable", float(self.failed), sync_dist=True, reduce_fx="sum")

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._warn(batch)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        read, failed = self._totals(trainer)
        if failed and trainer.is_global_zero:
            notice(f"{failed} of {read} pictures could not be read; others took their place")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["unreadable"] = self._totals(trainer)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.is_global_zero:
            self.read, self.failed = checkpoint.get("unreadable", (0, 0))

    def _warn(self, batch: Batch) -> None:
        for message in batch.unreadable:
            if message not in self.warned:
                self.warned.add(message)
                notice(f"{message}; goes on without it")

    def _judge(self, trainer: pl.Trainer) -> None:
        read, failed = self._totals(trainer)
        if read >= FEWEST and failed > LARGEST_SHARE * read:
            raise TrainingFailed(
                f"{failed} of {read} training pictures could not be read, more than "
                f"{LARGEST_SHARE:.0%}; mend or remove the files named above, then start again"
            )

    def _totals(self, trainer: pl.Trainer) -> tuple[int, int]:
        """Pictures read and failed, over all processes."""
        counts = torch.tensor([self.read, self.failed], device=trainer.strategy.root_device)
        read, failed = trainer.strategy.reduce(counts, reduce_op="sum").tolist()
        return read, failed
