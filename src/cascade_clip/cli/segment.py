"""`segment` and `demo`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cascade_clip.class_names import parse_classes
from cascade_clip.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from cascade_clip.demo import DemoResult
    from cascade_clip.query import Query
    from cascade_clip.segmentation import LegendEntry, Segmentation
    from cascade_clip.segmenter import Segmenter

FORMATS = ("overlay", "labels", "coco", "npz")
EMBEDDED_NOTE = (
    "model: the embedded one, which knows drawn scenes only; for photographs pass --model with a "
    "model that stands on a real CLIP"
)


def segment(
    pictures: Annotated[
        list[str], typer.Argument(help="Files, folders, or patterns such as 'photos/*.jpg'.")
    ],
    classes: Annotated[
        str | None,
        typer.Option(
            help="Names, e.g. 'cat, sofa|couch, wall'; | joins names of one class.",
            show_default="those of the model's training",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("segmented"),
    model: Annotated[
        str | None, typer.Option(help="Model or run folder.", show_default="the embedded model")
    ] = None,
    save: Annotated[
        str,
        typer.Option(
            help="Any of overlay (PNG with legend), labels (palette PNG of class indices, 255: "
            "none), coco (one JSON for all), npz."
        ),
    ] = "overlay",
    background: Annotated[
        bool, typer.Option("--background", help="Leave uncertain pixels without a class.")
    ] = False,
    threshold: Annotated[
        float | None,
        typer.Option(help="Score (0..1) below which a pixel has no class.", show_default="0.5"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Segment pictures into classes that you name."""
    formats = _read_formats(save)
    typed = None if classes is None else parse_classes(classes)

    from cascade_clip.picture_files import find_pictures

    files = find_pictures(pictures, out)  # mistakes show before the heavy imports

    from rich.console import Console

    from cascade_clip.checkpoint.native import EMBEDDED
    from cascade_clip.segmenter import Segmenter

    console, notes = Console(), Console(stderr=True)
    segmenter = Segmenter.from_pretrained(model or EMBEDDED, device=_device())
    if model in (None, EMBEDDED):
        notes.print(EMBEDDED_NOTE, style="dim", highlight=False)
    query = segmenter.query(typed, background=background if threshold is None else threshold)
    totals = _Totals()
    failed: list[str] = []
    for result in _segment_all(segmenter, files, query, failed, notes, quiet):
        totals.add(result, keep_record="coco" in formats)
        _save(result, out, formats)
    if "coco" in formats:
        _save_coco(totals.records, out / "coco.json")
    if totals.pictures:
        console.print(_table(totals))
        count = f"{totals.pictures} picture" + ("s" if totals.pictures > 1 else "")
        console.print(
            f"{count} segmented; results ({', '.join(formats)}) in {out}", highlight=False
        )
    if failed:
        for line in failed:
            notes.print(f"skipped: {line}", style="yellow", highlight=False, markup=False)
        raise typer.Exit(1)


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the report and the models.")] = Path(
        "runs/demo"
    ),
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Training steps of each method.", show_default="200"),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few steps and scenes: to see that everything works.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Train on the picture book, evaluate, segment, and write a report with pictures."""
    from rich.console import Console

    from cascade_clip.demo import DemoSettings, run_demo

    settings = DemoSettings.quick() if quick else DemoSettings()
    if steps is not None:
        settings = settings.with_steps(steps)
    result = run_demo(out, settings, quiet=quiet)
    console = Console()
    console.print(_demo_table(result))
    console.print(f"report: {result.report}", highlight=False, soft_wrap=True)


class _Totals:
    """What all results together amount to."""

    def __init__(self) -> None:
        self.pictures = 0
        self.pixels = 0
        self.by_class: list[float] = []
        self.legend: tuple[LegendEntry, ...] = ()
        self.records: list[dict[str, Any]] = []

    def add(self, result: Segmentation, keep_record: bool) -> None:
        if not self.pictures:
            self.by_class = [0.0] * len(result.legend)
        self.pictures += 1
        self.pixels += result.labels.size
        self.legend = result.legend
        for index, entry in enumerate(result.legend):
            self.by_class[index] += entry.share * result.labels.size
        if keep_record:
            self.records.append(result.to_coco())


def _segment_all(
    segmenter: Segmenter,
    files: Sequence[Path],
    query: Query,
    failed: list[str],
    notes: Console,
    quiet: bool,
) -> Iterator[Segmentation]:
    """Results one by one; unreadable pictures go into `failed`, unless it is the only picture."""
    from dataclasses import replace

    from cascade_clip.imageio import read_picture
    from cascade_clip.picture_files import result_names
    from cascade_clip.segmenter import ShrunkPicture

    with _progress(notes, quiet or len(files) == 1) as progress:
        task = progress.add_task("segmenting", total=len(files), rate="")
        for file, name in zip(files, result_names(files), strict=True):
            try:
                image = read_picture(file)
            except UserError as error:
                if len(files) == 1:
                    raise
                failed.append(str(error))
            else:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always", ShrunkPicture)
                    result = segmenter.segment(image, query)
                for warning in caught:
                    if issubclass(warning.category, ShrunkPicture):
                        notes.print(f"note: {file}: {warning.message}", highlight=False)
                yield replace(result, name=name, file_name=file.name)
            progress.advance(task)
            speed = progress.tasks[0].speed
            progress.update(task, rate=f"{speed:.1f} pictures/s" if speed else "")


def _progress(console: Console, quiet: bool) -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=quiet,
    )


def _save(result: Segmentation, out: Path, formats: Sequence[str]) -> None:
    if "overlay" in formats:
        result.save(out / f"{result.name}-overlay.png")
    if "labels" in formats:
        result.save_labels(out / f"{result.name}-labels.png")
    if "npz" in formats:
        result.save(out / f"{result.name}.npz")


def _save_coco(records: list[dict[str, Any]], path: Path) -> None:
    import json

    from cascade_clip import coco
    from cascade_clip.imageio import write_whole

    text = json.dumps(coco.merge(records), ensure_ascii=False)
    write_whole(path, lambda file: file.write_text(text, encoding="utf-8"))


def _table(totals: _Totals) -> Table:
    """Classes by their share of all pixels."""
    from rich.markup import escape
    from rich.table import Table

    from cascade_clip.overlay import short_name

    table = Table("class", "share of pixels", "masks in training")
    table.columns[1].justify = "right"
    order = sorted(range(len(totals.legend)), key=lambda index: -totals.by_class[index])
    for index in order:
        entry = totals.legend[index]
        share = totals.by_class[index] / totals.pixels
        trained = "yes" if entry.seen else "no"
        table.add_row(escape(short_name(entry.name)), f"{share:.1%}", trained)
    rest = 1 - sum(totals.by_class) / totals.pixels
    if rest > 1e-9:
        table.add_row("(none)", f"{rest:.1%}", "")
    return table


def _read_formats(text: str) -> list[str]:
    formats = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise UserError(f"--save takes any of {', '.join(FORMATS)}; got '{text}'")
    return formats


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _demo_table(result: DemoResult) -> Table:
    """Methods by pAcc, S, U, h, then S and U of things and of stuff; percent."""
    from rich.table import Table

    from cascade_clip.demo import GROUPS
    from cascade_clip.evaluation.report import group_scores, percent

    table = Table(title="percent; S, U: mIoU of seen, unseen classes; h: their harmonic mean")
    table.add_column("method")
    groups = [f"{group} {kind}" for group in GROUPS for kind in ("S", "U")]
    for column in ("pAcc", "S", "U", "h", *groups):
        table.add_column(column, justify="right")
    for name, m in result.rows.items():
        values = [m.pixel_accuracy, m.miou_seen, m.miou_unseen, m.hiou]
        for members in GROUPS.values():
            scores = group_scores(m, members, result.classes.unseen)
            values += [scores.seen, scores.unseen]
        table.add_row(name, *map(percent, values))
    return table
