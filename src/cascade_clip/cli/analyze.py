"""`analyze cka`, `analyze localization` and `analyze stages`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade_clip.checkpoint.options import AUTO
from cascade_clip.cli.analysis_task import RAW_CLIP, Given, open_task
from cascade_clip.cli.options import (
    ClipOption,
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

if TYPE_CHECKING:
    from cascade_clip.analysis.output import Summary
    from cascade_clip.data.samples import Sample, SegmentationDataset

SHOWN = 4
"""Pictures in a table of pictures."""
POOL = 60
"""Pictures among which those are looked for."""

analyze = typer.Typer(
    name="analyze",
    help="Inspect a model: block similarity, localization, per-stage results.",
    no_args_is_help=True,
    add_completion=False,
)

Blocks = Annotated[
    str | None, typer.Option(help="Blocks of the image encoder, e.g. 6-9,12.", show_default="all")
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="Output folder.", show_default="analysis-... in the folder MODEL, else in runs"
    ),
]
ModelOrNone = Annotated[
    str | None,
    typer.Argument(
        help="Run or model folder, or 'picturebook' for the embedded model; omit with --clip.",
        show_default=False,
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        help=f"Compare with {RAW_CLIP} (the CLIP alone), a run or model folder, or none.",
        show_default=f"{RAW_CLIP}; none with --clip",
    ),
]


class FeatureKind(StrEnum):
    """Values of --features."""

    PATCHES = "patches"
    MEAN = "mean"
    CLASS_TOKEN = "class-token"


@analyze.command()
def cka(
    model: ModelOrNone = None,
    clip: ClipOption = None,
    against: Against = None,
    data: Data = None,
    root: Root = None,
    scenes: Scenes = None,
    seed: Seed = None,
    part: PartName = "test",
    blocks: Blocks = None,
    features: Annotated[
        FeatureKind,
        typer.Option(help="Per picture: all patch tokens, their mean, or the class token."),
    ] = FeatureKind.PATCHES,
    batch: Annotated[int, typer.Option(help="Batch size for the HSIC estimate.")] = 32,
    out: Out = None,
    pretrained: Pretrained = None,
    device: Device = AUTO,
    precision: PrecisionOption = "fp32",
    quiet: Quiet = False,
) -> None:
    """Similarity (linear CKA) of all pairs of blocks, before and after training.

    No masks needed: --data may be any folder of pictures.
    """
    given = Given(
        model, clip, against, data, root, scenes, seed, part, out, pretrained, device, precision
    )
    task = open_task("cka", given)

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
    model: ModelOrNone = None,
    clip: ClipOption = None,
    against: Against = None,
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
    given = Given(
        model, clip, against, data, root, scenes, seed, part, out, pretrained, device, precision
    )
    task = open_task("localization", given)

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
        typer.Option(help=f"Compare with a run or model folder, {RAW_CLIP}, or none."),
    ] = RAW_CLIP,
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
    """Per-stage results: masks, metrics, weights, offsets, confusion, calibration."""
    given = Given(
        model, None, against, data, root, scenes, seed, part, out, pretrained, device, precision
    )
    task = open_task("stages", given)

    from cascade_clip.analysis.stages.compute import (
        level_weights,
        measure,
        stage_examples,
        stage_views,
    )
    from cascade_clip.analysis.stages.report import StageFindings, write_stages
    from cascade_clip.cli.progress import picture_bar
    from cascade_clip.evaluation.transfer import judge

    bundle = task.trained
    classes = judge(task.dataset.classes, bundle.classes, bundle.recipe.train.setting).classes
    measured = []
    for subject in task.subjects:
        with picture_bar(subject.name, len(task.dataset), quiet) as advance:
            views = stage_views(subject)
            measured.append(measure(subject, task.dataset, classes, views, advance))
    ours = task.subjects[0]
    found = StageFindings(
        name=ours.name,
        ours=measured[0],
        weights=level_weights(bundle.network),
        examples=stage_examples(ours, _choose(task.dataset), classes, stage_views(ours)),
        other=task.subjects[-1].name,
        theirs=measured[1] if len(measured) > 1 else None,
    )
    _print(*write_stages(task.out, found, task.setup))


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
