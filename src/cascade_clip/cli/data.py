"""`prepare` and `check`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from cascade_clip.cli.options import MaskBackground, Quiet
from cascade_clip.cli.prepare_folder import (
    AnnotatedPictures,
    AnnotationSource,
    BackgroundMeaning,
    ClassesFile,
    PlaceOption,
    RenameFile,
    VoidValues,
    build,
    print_built,
    read_order,
)
from cascade_clip.cli.progress import Bars
from cascade_clip.config import PreparedName
from cascade_clip.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from cascade_clip.data.check import CheckReport
    from cascade_clip.data.classes import ClassSet
    from cascade_clip.data.prepare.run import Report

Jobs = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="Number of worker processes.", show_default="all cores"),
]
SHOWN = 5
"""Most files of each kind to list on screen."""


def prepare(
    data: Annotated[
        Literal["folder", "voc", "context", PreparedName],
        typer.Argument(
            help="VOC 2012 with SBD, PASCAL Context (voc21, context60: with background), "
            "COCO-Stuff 164k, COCO-Object, Cityscapes, ADE20K; ade847, context459: all classes. "
            "voc: short for voc20; context: for context59. folder: your own annotations, as "
            "exported by an annotation tool."
        ),
    ],
    root: Annotated[
        Path,
        typer.Argument(
            help="Folder with the downloaded archives; with 'folder', the folder to create."
        ),
    ],
    source: AnnotationSource = None,
    pictures: AnnotatedPictures = None,
    classes: ClassesFile = None,
    rename: RenameFile = None,
    background: BackgroundMeaning = None,
    void: VoidValues = None,
    place: PlaceOption = "copy",
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Convert a downloaded data set to masks and split lists in ROOT/cascade-clip.

    Reads the original archives, packed or unpacked. If ROOT is empty, prints which files to
    download and where.

    `prepare folder NEW --from FILE_OR_FOLDER` converts your own annotations: COCO, CVAT, Label
    Studio, YOLO-seg, labelme, or masks.
    """
    options = {
        "--from": source, "--pictures": pictures, "--classes": classes, "--rename": rename,
        "--background": background, "--void": void,
    }  # fmt: skip
    from cascade_clip.support.parallel import usable_cores

    if data == "folder":
        order = read_order(source, pictures, classes, rename, background, void, place)
        try:
            with Bars(quiet) as progress:
                built = build(
                    order, root, jobs or usable_cores(), partial(progress, "writing masks")
                )
        except KeyboardInterrupt:
            _stop("nothing was written")
        print_built(built, root, order)
        return
    if typed := [option for option, value in options.items() if value is not None]:
        raise UserError(f"{' and '.join(typed)}: only for 'prepare folder'")
    from cascade_clip.data.prepare.run import prepare as run
    from cascade_clip.support.messages import Console

    name = "voc20" if data == "voc" else "context59" if data == "context" else data
    try:
        with Bars(quiet) as progress:
            report = run(name, root, jobs or usable_cores(), progress)
    except KeyboardInterrupt:
        _stop("rerun the command to resume")
    _print_report(report)
    Console().print(
        f"{name} is in {report.folder}; next: cascade-clip check {root} --name {name}",
        highlight=False,
        soft_wrap=True,
    )
    if report.problems:
        raise typer.Exit(1)


def check(
    data: Annotated[Path, typer.Argument(help="Folder of your own or prepared data.")],
    name: Annotated[
        PreparedName | None,
        typer.Option(help="Name of the prepared data set."),
    ] = None,
    background: MaskBackground = None,
    json: Annotated[
        Path | None, typer.Option(help="Write the full report to this JSON file.")
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="Maximum number of problems to print.")] = 20,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Validate a data set: read every picture and mask, report problems and class statistics.

    Exits with code 1 if there are problems.
    """
    from cascade_clip.data.check import check as run
    from cascade_clip.data.survey import survey
    from cascade_clip.support.messages import Console, notice_list
    from cascade_clip.support.parallel import usable_cores

    found = survey(data, name, background)
    try:
        with Bars(quiet) as progress:
            report = run(found, jobs or usable_cores(), lambda *done: progress("reading", *done))
    except KeyboardInterrupt:
        _stop("nothing was written")
    if json is not None:
        report.write(json)
    console = Console()
    if report.classes is not None:
        console.print(_class_table(report, report.classes))
    console.print(_part_table(report))
    for note in report.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    problems = [f"{problem.kind}: {problem.message}" for problem in report.problems]
    notice_list("problems", problems, show, "")
    if report.problems:
        raise typer.Exit(1)
    console.print("no problems")


def _stop(advice: str) -> NoReturn:
    """Ends after Ctrl-C as shells expect it."""
    print(f"stopped; {advice}", file=sys.stderr)
    raise typer.Exit(130)


def _print_report(report: Report) -> None:
    from rich.table import Table

    from cascade_clip.support.messages import Console, notice, notice_list

    console = Console()
    table = Table("list", "pictures", "published")
    for column in table.columns[1:]:
        column.justify = "right"
    for part, count in report.counts.items():
        table.add_row(part, f"{count:,}", f"{report.expected[part]:,}")
    console.print(table)
    console.print(f"masks: {report.made:,} made, {report.kept:,} kept", highlight=False)
    short = [part for part, count in report.counts.items() if count != report.expected[part]]
    if short:
        notice(f"warning: {' and '.join(short)}: not the number of pictures in published results")
    for note in report.notes:
        notice(f"note: {note}")
    missing = [str(path) for path in report.missing]
    notice_list("missing files", missing, SHOWN, "their pictures are left out")
    notice_list("problems", report.problems, SHOWN, "their pictures are left out")


def _part_table(report: CheckReport) -> Table:
    """One row per part: pictures, pixels, and the shares that are ignored and unlabelled."""
    from rich.table import Table

    table = Table("part", "pictures", "megapixels", "ignored %", "unlabelled %")
    for column in table.columns[1:]:
        column.justify = "right"
    for part, found in report.contents.items():
        pixels = max(found.pixels, 1)
        table.add_row(
            part,
            f"{found.pictures:,}",
            f"{found.pixels / 1e6:,.2f}",
            f"{100 * found.ignored / pixels:.1f}",
            f"{100 * found.unlabelled / pixels:.1f}",
        )
    return table


def _class_table(report: CheckReport, classes: ClassSet) -> Table:
    """One row per class: its share of the pixels of a part, and the pictures it is in."""
    from rich.markup import escape
    from rich.table import Table

    parts = {part: found for part, found in report.contents.items() if found.pictures}
    table = Table("class", "")
    for part in parts:
        table.add_column(f"{part}: % of pixels", justify="right")
        table.add_column("in pictures", justify="right")
    for name in classes.names:
        row = [escape(name), "unseen" if name in classes.unseen else ""]
        for found in parts.values():
            row.append(f"{100 * found.class_pixels[name] / max(found.pixels, 1):.2f}")
            row.append(f"{found.class_pictures[name]:,}")
        table.add_row(*row)
    return table
