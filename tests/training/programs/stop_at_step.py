"""The command line, which sends itself a signal: `stop_at_step.py SIGNAL STEP WHERE ARGUMENT...`.

WHERE is `step` (at the beginning of that forward pass) or `save` (in the midst of writing the
checkpoint of that step).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from cascade_clip.cli.app import main
from cascade_clip.training.module import TrainingModule

start_of_batch = TrainingModule.on_train_batch_start
save_checkpoint = pl.Trainer.save_checkpoint


def stop_at(number: signal.Signals, step: int, where: str) -> None:
    def start(self: TrainingModule, batch: Any, batch_idx: int) -> None:
        if where == "step" and batch_idx == step:
            os.kill(os.getpid(), number)
        start_of_batch(self, batch, batch_idx)

    def save(self: pl.Trainer, path: Path) -> None:
        save_checkpoint(self, path)
        if where == "save" and self.global_step == step:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), number)

    TrainingModule.on_train_batch_start = start  # type: ignore[method-assign]
    pl.Trainer.save_checkpoint = save  # type: ignore[assignment,method-assign]


if __name__ == "__main__":
    stop_at(signal.Signals[sys.argv[1]], int(sys.argv[2]), sys.argv[3])
    del sys.argv[1:4]
    main()
