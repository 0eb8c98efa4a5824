"""A training run from a recipe to a model folder."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import nn
from torch.utils.data import DataLoader

from cascade_clip.checkpoint.native import Bundle, load_bundle, save_model
from cascade_clip.clip.load import FrozenClip, load_clip
from cascade_clip.clip.text import TEMPLATES, encode_classes
from cascade_clip.config import Recipe
from cascade_clip.data.dataset import Batch, TrainStream, collate, open_dataset
from cascade_clip.data.sampling import StepBatches, seeded
from cascade_clip.data.transforms import TrainTransform
from cascade_clip.errors import UserError
from cascade_clip.evaluation.evaluate import BATCH_SIZE, DatasetBatches
from cascade_clip.imageio import write_whole
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.recipes import dump_recipe, load_recipe
from cascade_clip.training.callbacks import Checkpoints, TrainingProgress, newest_checkpoint
from cascade_clip.training.logs import CsvLog, describe_environment
from cascade_clip.training.module import TrainingModule

RECIPE_FILE = "recipe.yaml"
PRECISION: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "32": "32-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}
FREE_TO_CHANGE = (
    "train.accelerator", "train.devices", "train.workers", "train.checkpoint_every",
    "train.validate_every", "train.validation_pictures",
)  # fmt: skip
"""Settings that a resumed run may have otherwise: they don't decide the weights."""


def new_run_folder(recipe: Recipe, runs: Path) -> Path:
    """`runs/<recipe>-<n>` with the first free n."""
    return runs / f"{recipe.name}-{max(_run_numbers(recipe, runs), default=0) + 1}"


def newest_run_folder(recipe: Recipe, runs: Path) -> Path:
    """`runs/<recipe>-<n>` with the highest n. Raises `UserError` if there is none."""
    numbers = _run_numbers(recipe, runs)
    if not numbers:
        raise UserError(f"no run of {recipe.name} in {runs} to resume; start without --resume")
    return runs / f"{recipe.name}-{max(numbers)}"


def is_first_process() -> bool:
    """Whether this process is the one of its run that writes and prints."""
    rank: int = rank_zero_only.rank  # type: ignore[attr-defined]
    return rank == 0


def train(recipe: Recipe, out: Path, resume: bool = False, quiet: bool = False) -> Path:
    """Trains as `recipe` says, in the run folder `out`; returns the folder of the trained model.

    The run folder holds `recipe.yaml` (all settings), `versions.json`, `metrics.csv`, TensorBoard
    events, `checkpoints/` and at the end `model/`. With `resume`, the run goes on from its newest
    readable checkpoint and ends with the weights it would have had without the stop.

    Raises `UserError` if the folder holds another run, a setting doesn't fit or a file can't be
    written, and `TrainingStopped` after SIGINT or SIGTERM.
    """
    checkpoint, first_step = _find_start(recipe, out, resume)
    parts = _build(recipe)
    with _without_noise():
        trainer = _build_trainer(recipe, out, first_step, quiet)
        rank, world = trainer.global_rank, trainer.world_size
        batches = _train_loader(recipe, first_step, rank, world)
        validation = _validation_loader(recipe, rank, world)
        if not resume:
            _describe_run(
                recipe, out
            )  # only now: nothing is left behind by settings that don't fit
        trainer.fit(parts.module, batches, validation, ckpt_path=checkpoint, weights_only=True)
    model = out / "model"
    if trainer.is_global_zero:
        _save(model, recipe, parts)
    trainer.strategy.barrier("model")
    return model


@dataclass(frozen=True)
class _Parts:
    """What training works on."""

    clip: FrozenClip
    module: TrainingModule
    start: Bundle | None


def _build(recipe: Recipe) -> _Parts:
    clip = load_clip(recipe.model.clip)
    expected = clip.fingerprint  # taken before training can change the image encoder
    classes = open_dataset(recipe.data, "train").classes
    start = None if recipe.train.start_from is None else load_bundle(recipe.train.start_from)
    visual: nn.Module = clip.visual
    if start is not None:
        _check_start(start, recipe, expected)
        visual = start.network.encoder.visual
    with seeded(recipe.train.seed):
        network = SegmentationNetwork(visual, recipe.model)
    if start is not None:
        network.load_adapter_state_dict(start.network.adapter_state_dict())
    text = encode_classes(clip, classes.names, TEMPLATES[recipe.data.templates])
    return _Parts(clip, TrainingModule(network, recipe, classes, text), start)


def _check_start(start: Bundle, recipe: Recipe, fingerprint: str) -> None:
    source = f"train.start_from {recipe.train.start_from}"
    if start.clip_fingerprint not in (None, fingerprint):
        raise UserError(
            f"{source} stands on another CLIP than model.clip {recipe.model.clip.model}"
        )
    for part in ("encoder", "head"):
        theirs = getattr(start.recipe.model, part)
        for key, value in getattr(recipe.model, part):
            if getattr(theirs, key) != value:
                raise UserError(
                    f"{source} has model.{part}.{key} = {getattr(theirs, key)}, this recipe "
                    f"{value}; they must be equal"
                )


def _save(model: Path, recipe: Recipe, parts: _Parts) -> None:
    module = parts.module
    full = parts.start is not None and parts.start.has_trunk
    metrics = {}
    if module.last_validation is not None and module.last_validation_step == recipe.train.steps:
        result = module.last_validation.to_dict()
        metrics = {f"val_{key}": value for key, value in result.items() if key != "iou_per_class"}
    save_model(
        model, module.network, recipe, module.classes, parts.clip, metrics=metrics, full=full
    )


def _train_loader(recipe: Recipe, first_step: int, rank: int, world: int) -> DataLoader[Batch]:
    settings = recipe.train
    endless = recipe.data.name == "picturebook"
    stream = TrainStream(
        open_dataset(recipe.data, "train"),
        TrainTransform(recipe.data, flip=not endless),
        settings.seed,
        endless=endless,
    )
    batches = StepBatches(settings.batch_size, first_step, settings.accumulate, rank, world)
    return DataLoader(
        stream,  # type: ignore[arg-type]  # samples become batches in collate
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
    )


def _validation_loader(recipe: Recipe, rank: int, world: int) -> DataLoader[Batch]:
    dataset = open_dataset(recipe.data, "val", recipe.train.validation_pictures)
    return DataLoader(DatasetBatches(dataset, BATCH_SIZE, rank, world), batch_size=None)


def _tensorboard(out: Path) -> TensorBoardLogger:
    return TensorBoardLogger(out, name="", version="tensorboard")


def _build_trainer(recipe: Recipe, out: Path, first_step: int, quiet: bool) -> pl.Trainer:
    settings = recipe.train
    try:
        return pl.Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            strategy="ddp" if settings.devices > 1 else "auto",
            precision=PRECISION[settings.precision],
            max_steps=settings.steps,
            max_epochs=-1,
            accumulate_grad_batches=settings.accumulate,
            val_check_interval=max(1, settings.validate_every) * settings.accumulate,
            check_val_every_n_epoch=None,
            limit_val_batches=1.0 if settings.validate_every else 0,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            logger=[CsvLog(out / "metrics.csv", first_step), _tensorboard(out)],
            callbacks=[
                Checkpoints(out, settings.checkpoint_every),
                *([] if quiet else [TrainingProgress()]),
            ],
            enable_checkpointing=False,
            enable_progress_bar=not quiet,
            enable_model_summary=False,
            log_every_n_steps=max(1, min(20, settings.steps // 10)),
            default_root_dir=out,
        )
    except MisconfigurationException as error:
        raise UserError(
            f"this machine can't train with accelerator {settings.accelerator} on "
            f"{settings.devices} devices: {error}"
        ) from error


def _find_start(recipe: Recipe, out: Path, resume: bool) -> tuple[Path | None, int]:
    """The checkpoint to go on from and the steps done until then; None and 0 for a new run."""
    if resume:
        _check_same_recipe(recipe, out)
        return newest_checkpoint(out)
    if is_first_process() and (out / RECIPE_FILE).exists():
        raise UserError(f"{out} holds a run already; go on with --resume, or choose another --out")
    return None, 0


@rank_zero_only
def _describe_run(recipe: Recipe, out: Path) -> None:
    _write_text(out / RECIPE_FILE, yaml.safe_dump(dump_recipe(recipe), sort_keys=False))
    _write_text(out / "versions.json", json.dumps(describe_environment(), indent=2) + "\n")


def _check_same_recipe(recipe: Recipe, out: Path) -> None:
    stored = _flat(dump_recipe(load_recipe(out / RECIPE_FILE)))
    given = _flat(dump_recipe(recipe))
    ignored = {"name", "summary", *FREE_TO_CHANGE}
    different = [key for key in given if key not in ignored and given[key] != stored.get(key)]
    if different:
        key = different[0]
        raise UserError(
            f"{out} was trained with {key}={stored.get(key)}, now it is {given[key]}; resume with "
            f"the same settings: cascade-clip train {out / RECIPE_FILE} --out {out} --resume"
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _run_numbers(recipe: Recipe, runs: Path) -> list[int]:
    pattern = re.compile(re.escape(recipe.name) + r"-(\d+)")
    matches = [pattern.fullmatch(path.name) for path in runs.glob(f"{recipe.name}-*")]
    return [int(match[1]) for match in matches if match]


def _write_text(path: Path, text: str) -> None:
    write_whole(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


@contextmanager
def _without_noise() -> Iterator[None]:
    """Keeps Lightning's advice about devices, loggers and loaders off the screen."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
