"""A training run from a recipe to a model folder."""

from __future__ import annotations

import errno
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from cascade_clip.checkpoint.clip_files import standing_on
from cascade_clip.checkpoint.folder import Bundle, load_bundle, load_clip_checked
from cascade_clip.checkpoint.save import save_model
from cascade_clip.clip.load import FrozenClip
from cascade_clip.clip.templates import TEMPLATES
from cascade_clip.config import Recipe, TrainSettings
from cascade_clip.data.factory import open_dataset
from cascade_clip.data.samples import SegmentationDataset
from cascade_clip.data.sampling import seeded
from cascade_clip.errors import TrainingFailed, TrainingStopped, UserError
from cascade_clip.io.files import write_text
from cascade_clip.io.folder_lock import hold_folder
from cascade_clip.model.network import SegmentationNetwork, check_trainable
from cascade_clip.support.parallel import tell_of_fewer_readers
from cascade_clip.training.checkpoints import Checkpoints, KeptModels, check_reached
from cascade_clip.training.loaders import train_loader, validation_loader
from cascade_clip.training.module import TrainingModule
from cascade_clip.training.progress import TrainingProgress
from cascade_clip.training.run_folder import (
    check_run_folder,
    describe_run,
    find_start,
    is_first_process,
)
from cascade_clip.training.samples import SamplePictures
from cascade_clip.training.sanity.checks import inspect_run
from cascade_clip.training.sanity.findings import findings_json, show_findings, stop_at_failure
from cascade_clip.training.sanity.start import check_start, describe_start
from cascade_clip.training.trainer import build_trainer, without_noise
from cascade_clip.training.unreadable import UnreadableFiles

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk is full, or the share of it that a user or a process may take."""


@dataclass(frozen=True)
class TrainedModel:
    """The folder of a trained model, and the pictures that validation looked at."""

    folder: Path
    validation_pictures: SegmentationDataset


def train(recipe: Recipe, out: Path, resume: bool = False, quiet: bool = False) -> TrainedModel:
    """Trains as `recipe` says, in the run folder `out`.

    The run folder holds `recipe.yaml` (all settings), `versions.json`, `sanity.json`,
    `metrics.csv`, TensorBoard events, `samples/`, `checkpoints/` and at the end `model/`. With
    `resume`, the run goes on from its newest readable checkpoint and ends with the weights it would
    have had without the stop.

    Raises `UserError` if the folder holds another run or another command writes into it, a setting
    doesn't fit or a file can't be written, and `TrainingStopped` after SIGINT or SIGTERM.
    """
    check_trainable(recipe.model)
    with hold_folder(out, "checkpoints", "samples") if is_first_process() else nullcontext():
        return _train(recipe, out, resume, quiet)


def _train(recipe: Recipe, out: Path, resume: bool, quiet: bool) -> TrainedModel:
    check_run_folder(recipe, out, resume)
    if is_first_process():
        tell_of_fewer_readers("train.workers", recipe.train.workers)
    parts = _build(recipe)
    recipe = parts.recipe
    start = find_start(out, resume, parts.module.state_dict().keys())
    with without_noise():
        callbacks = _callbacks(recipe, out, parts, quiet)
        trainer = build_trainer(recipe.train, out, start.step, callbacks, quiet)
        rank, world = trainer.global_rank, trainer.world_size
        batches = train_loader(
            recipe, parts.pictures, parts.module.normalisation.mean, start.step, rank, world
        )
        validation = validation_loader(parts.validation_pictures, rank, world)
        if start.checkpoint is None and is_first_process():
            _begin(recipe, parts, out, quiet)
        with _others_end_too(trainer), _room_in(out):
            trainer.fit(
                parts.module, batches, validation, ckpt_path=start.checkpoint, weights_only=True
            )
            if start.step == recipe.train.steps and _ends_with_validation(recipe.train):
                # The run was killed after its last checkpoint, perhaps before this.
                trainer.validate(parts.module, validation, verbose=False)
    model = out / "model"
    problem = _save(model, recipe, parts) if trainer.is_global_zero else ""
    problem = trainer.strategy.broadcast(problem)
    if problem:
        raise TrainingFailed(f"{problem}; what was trained lies in {out / 'checkpoints'}")
    return TrainedModel(model, parts.validation_pictures)


def _begin(recipe: Recipe, parts: _Parts, out: Path, quiet: bool) -> None:
    """Writes what a run begins with; settings and data that don't fit leave nothing behind."""
    findings = []
    if recipe.train.sanity:
        findings = [
            describe_start(parts.start, recipe, parts.pictures.classes),
            *check_reached(recipe.train),
            *inspect_run(parts.module, parts.clip, parts.pictures),
        ]
        show_findings(findings, quiet)
        stop_at_failure(findings)
    describe_run(recipe, out)
    if findings:
        write_text(out / "sanity.json", json.dumps(findings_json(findings), indent=2) + "\n")


def _callbacks(recipe: Recipe, out: Path, parts: _Parts, quiet: bool) -> list[Callback]:
    settings = recipe.train
    return [
        UnreadableFiles(),
        KeptModels(out, settings.keep_model_at, partial(_save, recipe=recipe, parts=parts)),
        Checkpoints(out, settings.checkpoint_every),
        SamplePictures(parts.validation_pictures, settings.sample_pictures, out),
        *([] if quiet else [TrainingProgress()]),
    ]


def _ends_with_validation(settings: TrainSettings) -> bool:
    return settings.validate_every > 0 and settings.steps % settings.validate_every == 0


@contextmanager
def _others_end_too(trainer: pl.Trainer) -> Iterator[None]:
    """Processes that this one started end with it, where they would wait for it for ever."""
    try:
        yield
    except (TrainingStopped, TrainingFailed):
        raise  # they raise it themselves
    except BaseException:
        launcher = trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(getattr(signal, "SIGKILL", signal.SIGTERM))  # not on Windows
        raise


@contextmanager
def _room_in(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise UserError(
            f"there is no room left for the run in {out}: {error}; its checkpoints are intact: "
            "make room, then go on with --resume"
        ) from error


@dataclass(frozen=True)
class _Parts:
    """What training works on; each data set is opened once, as listing its files takes long."""

    recipe: Recipe
    """As given, with the CLIP of the model to start from."""
    pictures: SegmentationDataset
    validation_pictures: SegmentationDataset
    clip: FrozenClip
    module: TrainingModule
    start: Bundle | None


def _build(recipe: Recipe) -> _Parts:
    pictures = open_dataset(recipe.data, "train")
    validation_pictures = open_dataset(recipe.data, "val", recipe.train.validation_pictures)
    classes = pictures.classes
    start = None if recipe.train.start_from is None else load_bundle(recipe.train.start_from)
    if start is None:
        clip = load_clip_checked(recipe, None)
    else:
        check_start(start, recipe)
        recipe, clip = standing_on(recipe, start.recipe.model.clip), start.clip
    with seeded(recipe.train.seed):
        network = SegmentationNetwork(clip.visual, recipe.model)
    if start is not None:
        network.load_adapter_state_dict(start.network.adapter_state_dict())
    data = recipe.data
    text = clip.text_encoder(
        classes.prompts, TEMPLATES[data.templates], average=data.average_templates
    )
    module = TrainingModule(
        network, recipe, classes, text, recipe.data.normalisation(clip.normalisation)
    )
    return _Parts(recipe, pictures, validation_pictures, clip, module, start)


def _save(model: Path, recipe: Recipe, parts: _Parts) -> str:
    """Why the model could not be written; empty if it was."""
    module = parts.module
    full = parts.start is not None and parts.start.has_trunk
    metrics = {}
    if module.last_validation is not None and module.last_validation_step == recipe.train.steps:
        result = module.last_validation.to_dict()
        metrics = {f"val_{key}": n for key, n in result.items() if isinstance(n, float)}
    try:
        save_model(
            model, module.network, recipe, module.classes, parts.clip, metrics=metrics, full=full
        )
    except UserError as error:
        return str(error)
    return ""
