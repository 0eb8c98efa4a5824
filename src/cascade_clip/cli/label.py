"""`label`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade_clip.checkpoint.places import EMBEDDED, check_model
from cascade_clip.class_names import parse_classes
from cascade_clip.cli.options import Background, ModelOption, Quiet, Threshold, read_choices
from cascade_clip.cli.segment import EMBEDDED_NOTE
from cascade_clip.errors import UserError
from cascade_clip.picture_files import check_writable, find_pictures

if TYPE_CHECKING:
    from cascade_clip.labelling.formats.pictures import Placement
    from cascade_clip.labelling.task import Job, Task

FORMATS = ("voc", "coco", "yolo-seg", "cvat", "labelstudio", "jsonl", "parquet")


def label(
    pictures: Annotated[
        list[str], typer.Argument(help="Folders, files, or patterns such as 'photos/*.jpg'.")
    ],
    classes: Annotated[str, typer.Option(help="Names, e.g. 'cat, sofa|couch, wall'.")],
    formats: Annotated[
        str, typer.Option("--format", help=f"Any of {', '.join(FORMATS)}.")
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
    workers: Annotated[int, typer.Option(min=1, help="Models at once, with --engine ray.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Label a data set: masks and segments in the formats of annotation tools.

    A stopped command goes on where it was when it is repeated.
    """
    wanted = read_choices(formats, "--format", FORMATS)
    typed = parse_classes(classes)
    placement = _read_placement(place)
    if engine not in ("local", "ray"):
        raise UserError(f"--engine is local or ray, got '{engine}'")
    check_model(model)
    files = find_pictures(pictures, out)
    check_writable(out)  # mistakes show before the heavy imports

    from rich.console import Console

    from cascade_clip.labelling.formats import WRITERS
    from cascade_clip.labelling.records import open_store
    from cascade_clip.labelling.review import write_review
    from cascade_clip.labelling.run import common_folder, jobs_of
    from cascade_clip.labelling.task import Task

    console, notes = Console(), Console(stderr=True)
    if model == EMBEDDED:
        notes.print(EMBEDDED_NOTE, style="dim", highlight=False)
    task = Task(
        model=model,
        classes=typed.groups,
        background=background if threshold is None else threshold,
        out=str(out),
        min_area=min_area,
    )
    store, root = open_store(task, common_folder(pictures, files))
    jobs = jobs_of(files, root)
    waiting = [job for job in jobs if not store.is_done(job[1])]
    if len(waiting) < len(jobs):
        notes.print(f"{len(jobs) - len(waiting)} pictures were labelled before", style="dim")
    failed = _label(task, waiting, workers if engine == "ray" else None, quiet) if waiting else []
    for name in wanted:
        WRITERS[name](store, out / name, placement)
        console.print(f"written: {out / name}", highlight=False)
    if review:
        console.print(
            f"written: {write_review(store, out / 'review.html', review)}", highlight=False
        )
    if failed:
        for line in failed:
            notes.print(
                f"skipped: {line}",
                style="yellow",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
        raise typer.Exit(1)


def _label(task: Task, jobs: list[Job], workers: int | None, quiet: bool) -> list[str]:
    """Labels with a progress bar, on Ray where a number of workers is given; what went wrong."""
    from cascade_clip.cli.progress import picture_bar

    if workers is not None:
        from cascade_clip.labelling.on_ray import label_on_ray

        with picture_bar("labelling", len(jobs), quiet) as advance:
            return label_on_ray(task, jobs, workers, advance)

    from rich.console import Console

    from cascade_clip.labelling.run import Labeller

    with picture_bar("labelling", len(jobs), quiet) as advance:
        labeller = Labeller(task)
        failed = labeller.label_all(jobs, advance)
    notes = Console(stderr=True)
    for line in labeller.notes:
        notes.print(f"note: {line}", highlight=False, markup=False, soft_wrap=True)
    return failed


def _read_placement(text: str) -> Placement:
    if text == "copy":
        return "copy"
    if text == "link":
        return "link"
    raise UserError(f"--place is copy or link, got '{text}'")
