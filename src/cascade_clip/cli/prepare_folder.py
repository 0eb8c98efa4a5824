"""`prepare folder`: a data set from annotations of other tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cascade_clip.errors import UserError

if TYPE_CHECKING:
    from cascade_clip.data.annotations.build import Built, Wishes
    from cascade_clip.data.annotations.formats import Indices

AnnotationSource = Annotated[
    Path | None,
    typer.Option(
        "--from",
        help="Annotations: a file or folder of COCO, CVAT, Label Studio, YOLO-seg or labelme, or a "
        "folder of masks.",
        show_default=False,
    ),
]
AnnotatedPictures = Annotated[
    Path | None,
    typer.Option(help="Folder of the annotated pictures.", show_default="that of the annotations"),
]
ClassesFile = Annotated[
    Path | None,
    typer.Option(
        help="File of class names, one per line; others are skipped. For masks, in the order of "
        "their values.",
        show_default="those of the annotations",
    ),
]
RenameFile = Annotated[
    Path | None,
    typer.Option(
        help="YAML file that maps annotation names to class names, or to null to ignore them.",
        show_default="none",
    ),
]
BackgroundMeaning = Annotated[
    Literal["ignore", "class"] | None,
    typer.Option(
        help="Pixels outside all regions (0 in index masks): ignore them, or make them a class.",
        show_default="ignore; in index masks, 0 is the first class",
    ),
]
VoidValues = Annotated[
    str | None,
    typer.Option(help="Mask values to ignore, besides 255, e.g. 11 or 0,11.", show_default="none"),
]
PlaceOption = Annotated[
    Literal["copy", "link"], typer.Option(help="Copy the pictures, or link to them.")
]
SHOWN = 5
"""Most pictures to list on screen."""


@dataclass(frozen=True)
class Order:
    """What was typed."""

    source: Path
    wishes: Wishes
    indices: Indices


def read_order(
    source: Path | None,
    pictures: Path | None,
    classes: Path | None,
    rename: Path | None,
    background: Literal["ignore", "class"] | None,
    void: str | None,
    place: Literal["copy", "link"],
) -> Order:
    """Raises `UserError` for files that are missing or hold something else."""
    if source is None:
        raise UserError("'prepare folder' needs annotations; add --from FILE_OR_FOLDER")

    from cascade_clip.data.annotations.build import Wishes
    from cascade_clip.data.annotations.formats import Indices
    from cascade_clip.data.annotations.naming import read_renaming
    from cascade_clip.io.lines import read_lines

    folder = pictures or (source if source.is_dir() else source.parent)
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}")
    names = [] if classes is None else read_lines(classes)
    if classes is not None and not names:
        raise UserError(f"{classes} is empty; list the class names there, one a line")
    renamed = {} if rename is None else read_renaming(rename)
    return Order(
        source,
        Wishes(folder, names, renamed, background, place),
        Indices(names, 0 if background is None else 1, _numbers(void)),
    )


def build(order: Order, out: Path, jobs: int, progress: Callable[[int, int], None]) -> Built:
    """Writes the data set to `out`. Raises `UserError`."""
    from cascade_clip.data.annotations.build import build_folder
    from cascade_clip.data.annotations.formats import read_annotations

    found = read_annotations(order.source, order.indices)
    return build_folder(found, order.wishes, out, jobs, progress)


def print_built(built: Built, out: Path, order: Order) -> None:
    """Prints what was taken, what was not, and what comes next; exit code 1 if pictures were left
    out that could not be read or found, or don't fit."""
    from rich.markup import escape
    from rich.table import Table

    from cascade_clip.io.files import tell_of_copies
    from cascade_clip.support.messages import Console, notice, notice_list

    console = Console()
    table = Table("class", "pictures", "% of pixels")
    for column in table.columns[1:]:
        column.justify = "right"
    for name in built.classes:
        share = built.class_pixels[name] / max(built.pixels, 1)
        table.add_row(escape(name), f"{built.class_pictures[name]:,}", f"{100 * share:.2f}")
    console.print(table)
    regions = f" with {built.regions:,} regions" if built.regions else ""  # masks have none
    taken = f"{built.pictures:,} pictures{regions}"
    console.print(f"{built.found.format}: {taken}", highlight=False, markup=False)
    if order.wishes.background is None:
        rest = 1 - built.class_pixels.total() / max(built.pixels, 1)
        console.print(f"ignored: {100 * rest:.1f} % of the pixels", highlight=False)
    if built.overlapping:
        name, most = built.overlapping.most_common(1)[0]
        notice(
            f"note: regions of two classes overlap in {len(built.overlapping):,} pictures, most in "
            f"{name} ({most:,} pixels)"
        )
    for what, count in sorted(built.found.not_taken.items()):
        named = "; ".join(built.found.examples[what])
        notice(f"not taken: {count:,} {what}: {named}{' ...' if count > 3 else ''}")
    tell_of_copies(built.copied)
    notice_list("problems", built.problems, SHOWN, "their pictures are left out")
    console.print(
        f"{out} is ready; next: cascade-clip check {out}", highlight=False, soft_wrap=True
    )
    if built.problems:
        raise typer.Exit(1)


def _numbers(text: str | None) -> frozenset[int]:
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    wrong = [part for part in parts if not part.isdecimal()]
    if wrong:
        raise UserError(f"--void takes numbers with commas, e.g. 0,11; got '{text}'")
    return frozenset(map(int, parts))
