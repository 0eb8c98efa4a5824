"""Lightning's Trainer as a recipe sets it up: devices, processes, precision, logs, callbacks."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy

from cascade_clip.config import TrainSettings
from cascade_clip.errors import UserError
from cascade_clip.support.messages import errors_alone
from cascade_clip.support.processor import cpu_features, why_slower
from cascade_clip.training.checkpoints import CheckpointFile
from cascade_clip.training.logs import build_loggers

PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}


def build_trainer(
    settings: TrainSettings, out: Path, first_step: int, callbacks: Sequence[Callback], quiet: bool
) -> pl.Trainer:
    """A Trainer that logs to the run folder `out` and takes up after `first_step` steps.

    Raises `UserError` if this machine or the program that started this process doesn't offer what
    `settings` ask for.
    """
    _check_launcher(settings)
    without_gpu = settings.accelerator == "cpu" or not torch.accelerator.is_available()
    if without_gpu:
        _check_precision_on_cpu(settings.precision)
    try:
        return pl.Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            num_nodes=settings.nodes,
            strategy=_strategy(settings),
            precision=PRECISION[settings.precision],
            max_steps=settings.steps,
            max_epochs=-1,
            accumulate_grad_batches=settings.accumulate,
            val_check_interval=max(1, settings.validate_every) * settings.accumulate,
            check_val_every_n_epoch=None,
            limit_val_batches=1.0 if settings.validate_every else 0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            logger=build_loggers(out, first_step, settings.wandb),
            callbacks=list(callbacks),
            plugins=[CheckpointFile()],
            enable_checkpointing=False,
            enable_progress_bar=not quiet,
            enable_model_summary=False,
            log_every_n_steps=max(1, min(20, settings.steps // 10)),
            default_root_dir=out,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise UserError(
            f"this machine can't train with accelerator {settings.accelerator} on "
            f"{settings.devices} devices: {error}"
        ) from error


@contextmanager
def without_noise() -> Iterator[None]:
    """Keeps Lightning's advice about devices, loggers and loaders off the screen."""
    with errors_alone("lightning.pytorch", "lightning.fabric"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        yield


def leave_group() -> None:
    """Ends the group of processes that trained together; each goes on alone, without waiting."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _strategy(settings: TrainSettings) -> DDPStrategy | str:
    if settings.devices * settings.nodes == 1:
        return "auto"
    # No buffer ever changes here. DistributedDataParallel would exchange them before a forward
    # pass all the same, also in validation, where a process without pictures has no such pass: the
    # others would wait for it for ever.
    return DDPStrategy(broadcast_buffers=False)


def _check_precision_on_cpu(precision: str) -> None:
    if precision == "fp16":
        raise UserError(
            "train.precision=fp16 needs a GPU; use fp32, or bf16 on a CPU with instructions for it"
        )
    if reason := why_slower(precision, cpu_features()):
        raise UserError(f"train.precision={precision}: {reason}; use fp32")


def _check_launcher(settings: TrainSettings) -> None:
    """torchrun and SLURM have started the processes; a number that differs would hang."""
    asked = settings.devices * settings.nodes
    if "TORCHELASTIC_RUN_ID" in os.environ:
        program, started = "torchrun", int(os.environ["WORLD_SIZE"])
    elif SLURMEnvironment.detect():
        program, started = "srun", int(os.environ["SLURM_NTASKS"])
        if "SLURM_STEP_ID" not in os.environ:
            if asked == 1:
                return
            raise UserError("a SLURM job of several processes needs srun before cascade-clip")
    else:
        return
    if started != asked:
        raise UserError(
            f"{program} started {started} processes, but train.devices={settings.devices} and "
            f"train.nodes={settings.nodes} ask for {asked}; make them agree"
        )
