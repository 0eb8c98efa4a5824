"""`label`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade_clip.checkpoint.locate import EMBEDDED, locate_model
from cascade_clip.cli.options import (
    EMBEDDED_NOTE,
    Background,
    ModelOption,
    Quiet,
    Threshold,
    read_choices,
    read_classes,
)
from cascade_clip.errors import UserError
from cascade_clip.io.find import check_writable, find_pictures
from cascade_clip.io.results import LABEL_FORMATS, MASKS
from cascade_clip.support.messages import counted

if TYPE_CHECKING:
    from cascade_clip.batch.formats.pictures import Placement
    from cascade_clip.batch.records import Store
    from cascade_clip.batch.task import Job, Task
    from cascade_clip.io.folder_lock import HeldFolder


def label(
    pictures: Annotated[
        list[str], typer.Argument(help="Folders, files, or patterns such as 'photos/*.jpg'.")
    ],
    classes: Annotated[
        str, typer.Option(help="Names, e.g. 'cat, sofa|couch, wall', or a file, one a line.")
    ],
    formats: Annotated[
        str, typer.Option("--format", help=f"Any of {', '.join(LABEL_FORMATS)}.")
    ] = "coco",
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("labelled"),
    model: ModelOption = EMBEDDED,
    background: Background = False,
    threshold: Threshold = None,
    min_area: Annotated[
        int, typer.Option(min=1, help="Pieces with fewer pixels are no segments.")
    ] = 20,
    place: Annotated[
        str, typer.Option(help="Pictures beside the labels: copy, or link to where they lie.")
    ] = "copy",
    review: Annotated[
        int, typer.Option(min=0, help="Pictures on the review sheet; 0: no sheet.")
    ] = 200,
    engine: Annotated[str, typer.Option(help="local, or ray for many machines.")] = "local",
    workers: Annotated[
        int, typer.Option(min=1, max=1024, help="Models at once, with --engine ray.")
    ] = 1,
    quiet: Quiet = False,
) -> None:
    """Label a data set: masks and segments in the formats of annotation tools.

    A stopped command goes on where it was when it is repeated.
    """
    wanted = read_choices(formats, "--format", LABEL_FORMATS)
    typed = read_classes(classes)
    placement = _read_placement(place)
    if engine not in ("local", "ray"):
        raise UserError(f"--engine is local or ray, got '{engine}'")
    locate_model(model)
    files = find_pictures(pictures, out)
    check_writable(out)  # mistakes show before the heavy imports

    from cascade_clip.batch.formats import WRITERS
    from cascade_clip.batch.label import common_folder, jobs_of
    from cascade_clip.batch.records import RECORDS, open_store
    from cascade_clip.batch.review import write_review
    from cascade_clip.batch.task import Task
    from cascade_clip.io.folder_lock import hold_folder
    from cascade_clip.support.messages import Console, notice

    console, notes = Console(), Console(stderr=True)
    if model == EMBEDDED:
        notes.print(EMBEDDED_NOTE, style="dim", highlight=False)
    task = Task(
        model=model,
        classes=typed.groups,
        background=background if threshold is None else threshold,
        min_area=min_area,
    )
    with hold_folder(out, MASKS, RECORDS, *LABEL_FORMATS) as held:
        store = open_store(task, out, common_folder(pictures, files))
        jobs = jobs_of(files, store)
        waiting = [job for job in jobs if not store.is_done(*job)]
        if before := len(jobs) - len(waiting):
            were = "was" if before == 1 else "were"
            notes.print(f"{counted(before, 'picture')} {were} labelled before", style="dim")
        failed = _label(task, store, held, waiting, workers if engine == "ray" else None, quiet)
        store, stale = store.without_stale()
        failed += stale
        if not len(store) and len(failed) == 1:
            raise UserError(failed[0])
        if len(store):
            for name in wanted:
                WRITERS[name](store, out / name, placement)
                console.print(f"written: {out / name}", highlight=False)
            if review:
                written = write_review(store, out / "review.html", review)
                console.print(f"written: {written}", highlight=False)
    if failed:
        for line in failed:
            notice(f"skipped: {line}")
        raise typer.Exit(1)


def _label(
    task: Task,
    store: Store,
    held: HeldFolder,
    jobs: list[Job],
    workers: int | None,
    quiet: bool,
) -> list[str]:
    """Labels with a progress bar, on Ray where a number of workers is given; what went wrong."""
    if not jobs:
        return []
    from cascade_clip.batch.label import Labelled, Labeller
    from cascade_clip.cli.progress import picture_bar
    from cascade_clip.support.messages import Console

    results: list[Labelled] = []
    with picture_bar("labelling", len(jobs), quiet) as advance:
        if workers is None:
            labelled = Labeller(task, store).label(jobs)
        else:
            from cascade_clip.batch.on_ray import label_on_ray

            labelled = label_on_ray(task, store, jobs, workers)
        for result in labelled:
            held.check()
            advance(1)
            if result != Labelled():
                results.append(result)
    notes = Console(stderr=True)
    for result in results:
        if result.note is not None:
            notes.print(f"note: {result.note}", highlight=False, markup=False, soft_wrap=True)
    return [result.error for result in results if result.error is not None]


def _read_placement(text: str) -> Placement:
    if text == "copy":
        return "copy"
    if text == "link":
        return "link"
    raise UserError(f"--place is copy or link, got '{text}'")
