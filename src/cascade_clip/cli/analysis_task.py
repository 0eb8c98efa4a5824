"""What `analyze ...` works on, from the options that all its commands have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cascade_clip.checkpoint.locate import RUNS, check_trained
from cascade_clip.checkpoint.options import RunOptions, read_run_options
from cascade_clip.checkpoint.source import check_pretrained
from cascade_clip.cli.evaluate import check_data, data_settings
from cascade_clip.clip.source import parse_clip
from cascade_clip.data.part import Part, read_part
from cascade_clip.errors import UserError
from cascade_clip.io.find import check_writable

if TYPE_CHECKING:
    from cascade_clip.analysis.output import Setup
    from cascade_clip.analysis.subjects import Subject
    from cascade_clip.checkpoint.folder import Bundle
    from cascade_clip.config import DataSettings
    from cascade_clip.data.samples import SegmentationDataset

RAW_CLIP, NOTHING = "raw-clip", "none"
"""Values of --against that are no models."""


@dataclass(frozen=True)
class Given:
    """The options as they were typed."""

    model: str | None
    clip: str | None
    against: str | None
    data: str | None
    root: Path | None
    scenes: int | None
    seed: int | None
    part: str
    out: Path | None
    pretrained: str | None
    device: str
    precision: str


@dataclass(frozen=True)
class Task:
    """The networks, the model's or the CLIP's own first, and the pictures they look at."""

    bundle: Bundle | None
    """The trained model; None with --clip."""
    subjects: Sequence[Subject]
    dataset: SegmentationDataset
    setup: Setup
    out: Path

    @property
    def trained(self) -> Bundle:
        """The model of a command without --clip."""
        assert self.bundle is not None
        return self.bundle


def open_task(command: str, given: Given) -> Task:
    """Raises `UserError` for options that don't fit, before anything heavy is imported."""
    run = read_run_options(given.device, given.precision)
    _check(command, given)
    part = read_part(given.part)
    out = given.out
    if out is None:
        model = None if given.model is None else Path(given.model)
        out = (model if model is not None and model.is_dir() else RUNS) / f"analysis-{command}"
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder for the results with --out")
    check_writable(out)

    from cascade_clip.analysis.output import Setup

    bundle, subjects, embedded = _open_subjects(given, run)
    settings = subjects[0].recipe.data
    dataset = _open_dataset(command, settings, part, given.scenes, out)
    lowered = "" if bundle is None or run.precision == "fp32" else f", {run.precision}"
    setup = Setup(
        model=f"{subjects[0].name} ({given.clip or given.model}{lowered})",
        data=str(settings.root) if settings.name == "folder" else settings.name,
        part=given.part,
        pictures=len(dataset),
        embedded_clip=embedded,
    )
    return Task(bundle, subjects, dataset, setup, out)


def _check(command: str, given: Given) -> None:
    if given.clip is None:
        if given.model is None:
            raise UserError(
                f"analyze {command} needs a model, or a CLIP without training: "
                "--clip ViT-B-16/openai"
            )
        check_trained(given.model, "analyze")
        check_pretrained(given.model, None, given.pretrained)
        if given.against not in (None, NOTHING, RAW_CLIP):
            check_trained(given.against, "analyze")
    else:
        if given.model is not None:
            raise UserError(
                f"{given.model} is a trained model, --clip {given.clip} a CLIP without training; "
                "give one of them"
            )
        check_pretrained("", given.clip, given.pretrained)
        if given.against not in (None, NOTHING):
            raise UserError("--clip is looked at alone; --against is for trained models")
        if given.data is None:
            raise UserError("--clip needs pictures to look at, e.g. --data FOLDER")
        parse_clip(given.clip)
    check_data(given.data)


def _open_subjects(given: Given, run: RunOptions) -> tuple[Bundle | None, list[Subject], bool]:
    """The trained model, if there is one; the networks; and whether the CLIP is an embedded one."""
    from cascade_clip.analysis.subjects import clip_subject, open_subjects

    if given.clip is None:
        from cascade_clip.checkpoint.folder import load_bundle

        assert given.model is not None
        bundle = load_bundle(given.model, pretrained=given.pretrained)
        settings = data_settings(bundle.recipe.data, given.data, given.root, None, given.seed)
        against = None if given.against == NOTHING else given.against or RAW_CLIP
        subjects = open_subjects(bundle, settings, against, run)
        return bundle, subjects, bundle.recipe.model.clip.embedded

    from cascade_clip.cli.evaluate_clip import clip_recipe
    from cascade_clip.clip.load import load_clip

    assert given.data is not None
    source = parse_clip(given.clip)
    clip = load_clip(source)
    recipe = clip_recipe("clip", clip, given.data, given.root, None, given.seed)
    return None, [clip_subject(clip, recipe, run)], source.embedded


def _open_dataset(
    command: str, settings: DataSettings, part: Part, scenes: int | None, out: Path
) -> SegmentationDataset:
    from cascade_clip.analysis.pictures import open_pictures
    from cascade_clip.data.factory import open_dataset
    from cascade_clip.data.pairs import check_count

    if command == "cka":
        return open_pictures(settings, part, scenes, out)
    dataset = open_dataset(settings, part, scenes)
    check_count(dataset.classes)
    return dataset
