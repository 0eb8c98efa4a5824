"""Logs of a run that need no viewer: `metrics.csv` and `versions.json`."""

from __future__ import annotations

import csv
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

COLUMNS = (
    "step", "loss", "loss_focal", "loss_dice", "lr",
    "val_pAcc", "val_mIoU", "val_S", "val_U", "val_h",
)  # fmt: skip
PACKAGES = (
    "cascade-clip", "torch", "torchvision", "open_clip_torch", "lightning", "torchmetrics",
    "numpy", "pillow", "safetensors", "pydantic",
)  # fmt: skip


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
        if not self._started:
            self._start()
        # Lightning counts the step just done from 0 and adds its own "epoch".
        row = {"step": (step or 0) + 1, **metrics}
        if len(row.keys() & set(COLUMNS)) > 1:
            self._write([row], append=True)

    def _start(self) -> None:
        rows: list[dict[str, str]] = []
        if self.first_step and self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= self.first_step]
        self._write(rows, append=False)
        self._started = True

    def _write(self, rows: list[Any], append: bool) -> None:
        with self.path.open("a" if append else "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            if not append:
                writer.writeheader()
            writer.writerows(rows)


def describe_environment() -> dict[str, Any]:
    """Versions and hardware, for `versions.json`."""
    return {
        "python": platform.python_version(),
        "packages": {name: _package_version(name) for name in PACKAGES},
        "git_revision": _git_revision(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpu_cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """The revision of this source tree; None outside a repository or without git."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
