"""`analyze cka`, `analyze localization` and `analyze stages`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade_clip.checkpoint.locate import RUNS, check_trained
from cascade_clip.checkpoint.options import AUTO, read_run_options
from cascade_clip.checkpoint.source import check_pretrained
from cascade_clip.cli.evaluate import check_data, data_settings
from cascade_clip.cli.options import (
    Data,
    Device,
    ModelArgument,
    PartName,
    PrecisionOption,
    Pretrained,
    Quiet,
    Root,
    Scenes,
    Seed,
)
from cascade_clip.data.part import Part, read_part
from cascade_clip.errors import UserError
from cascade_clip.io.find import check_writable

if TYPE_CHECKING:
    from cascade_clip.analysis.output import Setup, Summary
    from cascade_clip.analysis.subjects import Subject
    from cascade_clip.checkpoint.folder import Bundle
    from cascade_clip.config import DataSettings
    from cascade_clip.data.samples import Sample, SegmentationDataset

UNTRAINED, NOTHING = "raw-clip", "none"
"""Values of --against that are no models."""
SHOWN = 4
"""Pictures in a table of pictures."""
POOL = 60
"""Pictures among which those are looked for."""

analyze = typer.Typer(
    name="analyze",
    help="Look into a model: where its blocks differ, what they see, what its stages do.",
    no_args_is_help=True,
    add_completion=False,
)

Blocks = Annotated[
    str | None, typer.Option(help="Blocks of the image encoder, e.g. 6-9,12.", show_default="all")
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the results.", show_default="analysis-... in the folder MODEL, else in runs"
    ),
]
AgainstRaw = Annotated[
    str, typer.Option(help="raw-clip (its CLIP without training), a run or model folder, or none.")
]


class FeatureKind(StrEnum):
    """Values of --features."""

    PATCHES = "patches"
    MEAN = "mean"
    CLASS_TOKEN = "class-token"


@analyze.command()
def cka(
    model: ModelArgument,
    against: AgainstRaw = "raw-clip",
    data: Data = None,
    root: Root = None,
    scenes: Scenes = None,
    seed: Seed = None,
    part: PartName = "test",
    blocks: Blocks = None,
    features: Annotated[
        FeatureKind,
        typer.Option(help="Of a picture: all its patch tokens, their mean, or its class token."),
    ] = FeatureKind.PATCHES,
    batch: Annotated[int, typer.Option(help="Pictures from which HSIC is estimated at once.")] = 32,
    out: Out = None,
    pretrained: Pretrained = None,
    device: Device = AUTO,
    precision: PrecisionOption = "fp32",
    quiet: Quiet = False,
) -> None:
    """Similarity (linear CKA) of all pairs of blocks, before and after training.

    Needs no masks: --data may be any folder of pictures.
    """
    given = _Given(against, data, root, scenes, seed, part, out, pretrained, device, precision)
    task = _open("cka", model, given)

    from cascade_clip.analysis.cka.compute import block_cka, deal
    from cascade_clip.analysis.cka.report import write_cka
    from cascade_clip.analysis.subjects import common_blocks
    from cascade_clip.cli.progress import picture_bar

    chosen = common_blocks(task.subjects, blocks)
    deal(len(task.dataset), batch)  # too few pictures show before the bar does
    with picture_bar("pictures", len(task.dataset), quiet) as advance:
        result = block_cka(
            task.subjects, task.dataset, chosen,
            features=features.value, batch_size=batch, advance=advance,
        )  # fmt: skip
    _print(*write_cka(task.out, result, features.value, task.setup))


@analyze.command()
def localization(
    model: ModelArgument,
    against: AgainstRaw = "raw-clip",
    data: Data = None,
    root: Root = None,
    scenes: Scenes = None,
    seed: Seed = None,
    part: PartName = "test",
    blocks: Blocks = None,
    out: Out = None,
    pretrained: Pretrained = None,
    device: Device = AUTO,
    precision: PrecisionOption = "fp32",
    quiet: Quiet = False,
) -> None:
    """How well each block's patches separate an object from its surroundings."""
    given = _Given(against, data, root, scenes, seed, part, out, pretrained, device, precision)
    task = _open("localization", model, given)

    from cascade_clip.analysis.localization.compute import localize, map_examples
    from cascade_clip.analysis.localization.report import write_localization
    from cascade_clip.analysis.subjects import common_blocks
    from cascade_clip.cli.progress import picture_bar

    chosen = common_blocks(task.subjects, blocks)
    with picture_bar("pictures", len(task.dataset), quiet) as advance:
        result = localize(task.subjects, task.dataset, chosen, advance)
    shown = _choose(task.dataset)
    examples = map_examples(task.subjects, shown, task.dataset.classes, chosen)
    _print(*write_localization(task.out, result, examples, task.setup))


@analyze.command()
def stages(
    model: ModelArgument,
    against: Annotated[
        str,
        typer.Option(help="Gains and losses over: a run or model folder, raw-clip, or none."),
    ] = "raw-clip",
    data: Data = None,
    root: Root = None,
    scenes: Scenes = None,
    seed: Seed = None,
    part: PartName = "test",
    out: Out = None,
    pretrained: Pretrained = None,
    device: Device = AUTO,
    precision: PrecisionOption = "fp32",
    quiet: Quiet = False,
) -> None:
    """What each stage gives: masks and metrics, weights, offsets, confusion, calibration."""
    given = _Given(against, data, root, scenes, seed, part, out, pretrained, device, precision)
    task = _open("stages", model, given)

    from cascade_clip.analysis.stages.compute import (
        level_weights,
        measure,
        stage_examples,
        stage_views,
    )
    from cascade_clip.analysis.stages.report import StageFindings, write_stages
    from cascade_clip.cli.progress import picture_bar
    from cascade_clip.evaluation.transfer import judge

    recipe, trained = task.bundle.recipe, task.bundle.classes
    classes = judge(task.dataset.classes, trained, recipe.train.setting).classes
    measured = []
    for subject in task.subjects:
        with picture_bar(subject.name, len(task.dataset), quiet) as advance:
            views = stage_views(subject)
            measured.append(measure(subject, task.dataset, classes, views, advance))
    ours = task.subjects[0]
    found = StageFindings(
        name=ours.name,
        ours=measured[0],
        weights=level_weights(task.bundle.network),
        examples=stage_examples(ours, _choose(task.dataset), classes, stage_views(ours)),
        other=task.subjects[-1].name,
        theirs=measured[1] if len(measured) > 1 else None,
    )
    _print(*write_stages(task.out, found, task.setup))


@dataclass(frozen=True)
class _Given:
    """The options that all commands here have, as they were typed."""

    against: str
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
class _Task:
    """Everything that a command works on."""

    bundle: Bundle
    subjects: Sequence[Subject]
    dataset: SegmentationDataset
    setup: Setup
    out: Path


def _open(command: str, model: str, given: _Given) -> _Task:
    run = read_run_options(given.device, given.precision)
    check_trained(model, "analyze")
    check_pretrained(model, None, given.pretrained)
    if given.against not in (NOTHING, UNTRAINED):
        check_trained(given.against, "analyze")
    part = read_part(given.part)
    check_data(given.data)
    out = given.out
    if out is None:
        out = (Path(model) if Path(model).is_dir() else RUNS) / f"analysis-{command}"
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder for the results with --out")
    check_writable(out)  # mistakes show before the heavy imports

    from cascade_clip.analysis.output import Setup
    from cascade_clip.analysis.subjects import open_subjects
    from cascade_clip.checkpoint.folder import load_bundle

    bundle = load_bundle(model, pretrained=given.pretrained)
    settings = data_settings(bundle.recipe.data, given.data, given.root, None, given.seed)
    dataset = _open_dataset(command, settings, part, given.scenes, out)
    against = None if given.against == NOTHING else given.against
    subjects = open_subjects(bundle, settings, against, run)
    lowered = "" if run.precision == "fp32" else f", {run.precision}"
    setup = Setup(
        model=f"{subjects[0].name} ({model}{lowered})",
        data=str(settings.root) if settings.name == "folder" else settings.name,
        part=given.part,
        pictures=len(dataset),
        embedded_clip=bundle.recipe.model.clip.embedded,
    )
    return _Task(bundle, subjects, dataset, setup, out)


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


def _choose(dataset: SegmentationDataset) -> list[Sample]:
    """Pictures to show, by what they hold."""
    from cascade_clip.report.chosen import choose_scenes

    pool = [dataset[index] for index in range(min(POOL, len(dataset)))]
    return choose_scenes(pool, dataset.classes, SHOWN)


def _print(summary: Summary, page: Path) -> None:
    from rich.table import Table

    from cascade_clip.analysis.output import FIGURES_HEADER
    from cascade_clip.support.messages import Console

    console = Console()
    for header, rows in ((summary.header, summary.rows), (FIGURES_HEADER, summary.figures)):
        table = Table(title=None if header is FIGURES_HEADER else summary.title)
        for index, column in enumerate(header):
            table.add_column(column, justify="right" if index else "left")
        for row in rows:
            table.add_row(*row)
        if rows:
            console.print(table)
    console.print(summary.note, highlight=False, markup=False)
    console.print(f"report: {page}", highlight=False, markup=False, soft_wrap=True)
