"""Where a run logs to: `metrics.csv`, TensorBoard, Weights & Biases."""

from __future__ import annotations

import csv
import netrc
import os
import uuid
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from cascade_clip.errors import UserError
from cascade_clip.support.messages import install_line

COLUMNS = (
    "step", "loss", "loss_focal", "loss_dice", "loss_ssim", "lr",
    "val_pAcc", "val_mIoU", "val_S", "val_U", "val_h", "unreadable",
)  # fmt: skip


def build_loggers(out: Path, first_step: int, wandb: str | None) -> list[Logger]:
    """The loggers of the run in `out`, which begins after `first_step` steps.

    `wandb` is a project in Weights & Biases; None logs to files alone.

    Raises `UserError` if the package wandb is missing.
    """
    loggers: list[Logger] = [
        CsvLog(out / "metrics.csv", first_step),
        TensorBoardLogger(out, name="", version="tensorboard", purge_step=first_step or None),
    ]
    return loggers if wandb is None else [*loggers, _wandb(wandb, out)]


def _wandb(project: str, out: Path) -> WandbLogger:
    """Without a login it logs offline, to a folder that `wandb sync` sends later."""
    if find_spec("wandb") is None:
        raise UserError(
            f"train.wandb={project} needs the package wandb: {install_line('wandb')}; or leave "
            "the setting out, metrics.csv and TensorBoard hold the same"
        )
    (out / "wandb").mkdir(parents=True, exist_ok=True)
    name = out / "wandb" / "run-id.txt"  # so that a resumed run goes on in the same curves
    if not name.is_file():
        name.write_text(uuid.uuid4().hex, encoding="utf-8")
    return WandbLogger(
        project=project,
        name=out.name,
        id=name.read_text(encoding="utf-8"),
        resume="allow",
        save_dir=out,
        offline="WANDB_MODE" not in os.environ and not _has_wandb_login(),
    )


def _has_wandb_login() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


class CsvLog(Logger):
    """Appends to `metrics.csv`; a run resumed at `first_step` drops what was logged after it."""

    def __init__(self, path: Path, first_step: int) -> None:
        super().__init__()
        self.path = path
        self.first_step = first_step
        self._started = False

    @property
    def name(self) -> str:
        return ""

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: the resolved recipe lies in the run folder."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        # Lightning counts the step just done from 0 and adds its own "epoch".
        row = {"step": (step or 0) + 1, **metrics}
        if not self._started:
            self._start(row)
        if len(row.keys() & set(COLUMNS)) > 1:
            self._write([row], append=True)

    def _start(self, first: Mapping[str, float]) -> None:
        """Keeps earlier rows, but for what `first` says again."""
        rows: list[dict[str, str]] = []
        if self.first_step and self.path.is_file():
            # A run that was killed or had no room may have left half a line.
            whole, _, _ = self.path.read_text(encoding="utf-8").rpartition("\n")
            rows = [
                row
                for row in csv.DictReader(whole.split("\n"))
                if None not in row.values() and int(row["step"]) <= self.first_step
            ]
            now = [name for name in COLUMNS[1:] if name in first]
            rows = [
                row
                for row in rows
                if int(row["step"]) != first["step"] or not any(row[name] for name in now)
            ]
        self._write(rows, append=False)
        self._started = True

    def _write(self, rows: list[Any], append: bool) -> None:
        with self.path.open("a" if append else "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            if not append:
                writer.writeheader()
            writer.writerows(rows)
