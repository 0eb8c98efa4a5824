"""`label`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade_clip.checkpoint.locate import EMBEDDED
from cascade_clip.checkpoint.options import AUTO, read_run_options
from cascade_clip.checkpoint.source import read_source
from cascade_clip.cli.batch import find_files, tally
from cascade_clip.cli.options import (
    DRAWN_NOTE,
    Background,
    BackgroundNames,
    ClipOption,
    Device,
    InferenceSetting,
    MethodOption,
    ModelOption,
    PrecisionOption,
    Pretrained,
    Quiet,
    Threshold,
    read_background,
    read_choices,
    read_classes,
)
from cascade_clip.errors import UserError
from cascade_clip.io.find import check_writable
from cascade_clip.io.results import LABEL_FORMATS, MASKS
from cascade_clip.support.messages import counted

if TYPE_CHECKING:
    from cascade_clip.batch.formats.pictures import Placement
    from cascade_clip.batch.items import Item
    from cascade_clip.batch.pipeline import Outcome


def label(
    pictures: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, or patterns such as 'photos/*.jpg'; - reads a list of files from "
            "standard input."
        ),
    ],
    classes: Annotated[
        str,
        typer.Option(
            help="Class names, e.g. 'cat, sofa|couch, wall' (| separates synonyms), or a file with "
            "one per line."
        ),
    ],
    formats: Annotated[
        str,
        typer.Option("--format", help=f"Comma-separated: {', '.join(LABEL_FORMATS)}."),
    ] = "coco",
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("labelled"),
    clip: ClipOption = None,
    method: MethodOption = None,
    model: ModelOption = EMBEDDED,
    pretrained: Pretrained = None,
    device: Device = AUTO,
    precision: PrecisionOption = "fp32",
    inference: InferenceSetting = None,
    background: Background = False,
    background_names: BackgroundNames = None,
    threshold: Threshold = None,
    min_area: Annotated[int, typer.Option(min=1, help="Drop segments with fewer pixels.")] = 20,
    simplify: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=100.0,
            help="Polygon simplification tolerance in pixels (cvat, labelstudio, yolo-seg); 0: "
            "exact outlines.",
        ),
    ] = 1.0,
    upright: Annotated[
        bool,
        typer.Option(
            "--upright",
            help="Re-encode EXIF-rotated photographs upright, for tools that ignore EXIF.",
        ),
    ] = False,
    place: Annotated[
        str, typer.Option(help="Copy the pictures next to the labels, or link to them.")
    ] = "copy",
    review: Annotated[
        int, typer.Option(min=0, help="Pictures on the review sheet; 0: none.")
    ] = 200,
    again: Annotated[
        Path | None,
        typer.Option(
            help="Data set of corrected images (from `prepare folder`); their masks are used "
            "unchanged, all other images are labelled.",
            show_default="none",
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or ray for several machines.")] = "local",
    workers: Annotated[
        int,
        typer.Option(min=1, max=1024, help="Number of parallel models with --engine ray."),
    ] = 1,
    quiet: Quiet = False,
) -> None:
    """Label a data set: masks and segments in the formats of annotation tools.

    Rerun an interrupted command to resume it.
    """
    wanted = read_choices(formats, "--format", LABEL_FORMATS)
    typed = read_classes(classes)
    placement = _read_placement(place)
    run = read_run_options(device, precision, inference or ())
    if engine not in ("local", "ray"):
        raise UserError(f"--engine is local or ray, got '{engine}'")
    source = read_source(model, clip, method, pretrained)
    files = find_files(pictures, out)
    check_writable(out)  # mistakes show before the heavy imports

    from cascade_clip.batch.corrected import find_corrections, with_corrections
    from cascade_clip.batch.formats import WRITERS
    from cascade_clip.batch.items import items_of
    from cascade_clip.batch.labels import labelling_journal, labels_of
    from cascade_clip.batch.on_ray import run_on_ray
    from cascade_clip.batch.pipeline import Pipeline, run_batch
    from cascade_clip.batch.review import write_review
    from cascade_clip.batch.task import Task
    from cascade_clip.io.folder_lock import hold_folder
    from cascade_clip.support.messages import Console

    console, notes = Console(), Console(stderr=True)
    if source.is_drawn:
        notes.print(DRAWN_NOTE, style="yellow", highlight=False)
    without_class = read_background(background, threshold, background_names)
    task = Task(source, typed.groups, without_class, out, (MASKS,), min_area, run)
    process = Pipeline(task).run if engine == "local" else partial(run_on_ray, task, workers)
    with hold_folder(out, MASKS, *LABEL_FORMATS) as held:
        journal = labelling_journal(task)
        items: Iterable[Item | Outcome] = items_of(files, None, journal.names())
        if again is not None:
            corrections = find_corrections(again, files, typed.groups)
            count = counted(len(corrections.masks), "picture")
            notes.print(f"corrected: {count} of {again}", style="dim", highlight=False)
            items = with_corrections(items, corrections, task)
        outcomes = run_batch(process, journal, items, task.formats)
        done = tally("labelling", outcomes, len(files), held, notes, quiet)
        if done.before:
            were = "was" if done.before == 1 else "were"
            notes.print(f"{counted(done.before, 'picture')} {were} labelled before", style="dim")
        labels, stale = replace(
            labels_of(journal), simplify=simplify, upright=upright
        ).without_stale()
        done.skipped += stale
        if labels.entries:
            for name in wanted:
                WRITERS[name](labels, out / name, placement)
                console.print(f"written: {out / name}", highlight=False, markup=False)
            if review:
                written = write_review(labels, out / "review.html", review)
                console.print(f"written: {written}", highlight=False, markup=False)
    done.end()


def _read_placement(text: str) -> Placement:
    if text == "copy":
        return "copy"
    if text == "link":
        return "link"
    raise UserError(f"--place is copy or link, got '{text}'")
