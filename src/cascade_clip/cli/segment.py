"""`segment`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
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
from cascade_clip.io.find import (
    check_writable,
    each_once,
    find_pictures,
    is_video,
    read_list,
)
from cascade_clip.io.results import SEGMENT_FORMATS
from cascade_clip.io.video import Sampling, require_video
from cascade_clip.support.messages import counted

if TYPE_CHECKING:
    from rich.table import Table

    from cascade_clip.batch.journal import Entry
    from cascade_clip.batch.segment import Task
    from cascade_clip.inference.query import Query
    from cascade_clip.io.folder_lock import HeldFolder

STDIN = "-"


def segment(
    pictures: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, patterns such as 'photos/*.jpg', video files; - reads a list of "
            "files from standard input."
        ),
    ],
    classes: Annotated[
        str | None,
        typer.Option(
            help="Names, e.g. 'cat, sofa|couch, wall' (| joins names of one class), or a file of "
            "them, one a line.",
            show_default="those of the model's training",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("segmented"),
    model: ModelOption = EMBEDDED,
    save: Annotated[
        str,
        typer.Option(
            help="Any of overlay (PNG with legend), labels (palette PNG of class indices, 255: "
            "none), coco (one JSON for all), npz."
        ),
    ] = "overlay",
    background: Background = False,
    threshold: Threshold = None,
    every: Annotated[int, typer.Option(min=1, help="Of a film, each so many-th frame.")] = 1,
    fps: Annotated[
        float | None, typer.Option(help="Of a film, so many frames a second instead.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Segment again what was segmented before; replace results of other settings.",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Segment pictures and films into classes that you name.

    A stopped command goes on where it was when it is repeated.
    """
    formats = read_choices(save, "--save", SEGMENT_FORMATS)
    typed = None if classes is None else read_classes(classes)
    sampling = _read_sampling(every, fps)
    place = locate_model(model)
    files = _find(pictures, out)
    _check_films(files, sampling)
    check_writable(out)  # mistakes show before the heavy imports

    from cascade_clip.batch.journal import Journal
    from cascade_clip.batch.segment import Task
    from cascade_clip.batch.settings import settings_of
    from cascade_clip.export.network import fastest_device
    from cascade_clip.io.folder_lock import hold_folder
    from cascade_clip.segmenter import Segmenter
    from cascade_clip.support.messages import Console, notice

    console, notes = Console(), Console(stderr=True)
    with hold_folder(out) as held:
        segmenter = Segmenter.from_pretrained(place, device=fastest_device(place))
        if model == EMBEDDED:
            notes.print(EMBEDDED_NOTE, style="dim", highlight=False)
        threshold_or_not = background if threshold is None else threshold
        query = segmenter.query(typed, background=threshold_or_not)
        settings = settings_of(place, query.typed.groups, threshold_or_not)
        journal = Journal(out, settings, redo=overwrite)
        if replaced := journal.make_room(files):
            notes.print(replaced, highlight=False, markup=False, soft_wrap=True)
        task = Task(segmenter, query, out, formats, journal)

        outcome = _run(task, held, files, sampling, quiet)
        journal.write_coco()
        if outcome.entries:
            console.print(_table(outcome.entries, query))
            console.print(
                f"{outcome.counts()}; results ({', '.join(formats)}) in {out}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    if outcome.failed:
        if not outcome.entries and len(files) == 1:
            raise UserError(outcome.failed[0])
        for line in outcome.failed:
            notice(f"skipped: {line}")
        raise typer.Exit(1)


@dataclass
class _Outcome:
    """What is in the folder afterwards."""

    entries: list[Entry] = field(default_factory=list)
    before: int = 0
    """How many of them an earlier run had segmented."""
    failed: list[str] = field(default_factory=list)
    """A line for each file that could not be read."""

    def counts(self) -> str:
        text = f"{counted(len(self.entries) - self.before, 'picture')} segmented"
        if self.before:
            them = "it" if self.before == 1 else "them"
            text += f", {self.before} before (--overwrite segments {them} again)"
        return text


def _find(pictures: Sequence[str], out: Path) -> list[Path]:
    typed = [name for name in pictures if name != STDIN]
    found = find_pictures(typed, out) if typed or STDIN not in pictures else []
    if STDIN in pictures:
        if isinstance(sys.stdin, TextIOWrapper):  # file names need not be UTF-8
            sys.stdin.reconfigure(errors="surrogateescape")
        found = each_once([*found, *read_list(sys.stdin, out)])
    if any(map(is_video, found)):
        require_video()
    return found


def _run(
    task: Task, held: HeldFolder, files: Sequence[Path], sampling: Sampling, quiet: bool
) -> _Outcome:
    from cascade_clip.batch.items import Failure, count_items, items_of
    from cascade_clip.cli.progress import picture_bar
    from cascade_clip.support.messages import Console

    outcome = _Outcome()
    notes: list[str] = []
    total = count_items(files, sampling)
    with picture_bar("segmenting", total, quiet or total == 1) as advance:
        for result in task.run(items_of(files, sampling, task.journal.names())):
            held.check()
            if isinstance(result, Failure):
                outcome.failed.append(result.message)
            else:
                outcome.entries.append(result.entry)
                outcome.before += result.before
                if result.note is not None:
                    notes.append(f"{result.entry.source}: {result.note}")
            advance(1)
    console = Console(stderr=True)
    for line in notes:
        console.print(f"note: {line}", highlight=False, markup=False, soft_wrap=True)
    return outcome


def _table(entries: Sequence[Entry], query: Query) -> Table:
    """Classes by their share of all pixels."""
    from rich.markup import escape
    from rich.table import Table

    from cascade_clip.io.overlay import short_name

    total = sum(entry.height * entry.width for entry in entries)
    shares = {
        group[0]: sum(e.shares[group[0]] * e.height * e.width for e in entries) / total
        for group in query.typed.groups
    }
    seen = dict(zip(shares, query.seen_by_class, strict=True))
    table = Table("class", "share of pixels", "masks in training")
    table.columns[1].justify = "right"
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        trained = "yes" if seen[name] else "no"
        table.add_row(escape(short_name(name)), f"{share:.1%}", trained)
    rest = 1 - sum(shares.values())
    if rest > 1e-6:
        table.add_row("(none)", f"{rest:.1%}", "")
    return table


def _read_sampling(every: int, fps: float | None) -> Sampling:
    if fps is not None and every != 1:
        raise UserError("--every and --fps both choose the frames of a film; give one of them")
    if fps is not None and not fps > 0:
        raise UserError(f"--fps is a number above 0, got {fps:g}")
    return Sampling(every, fps)


def _check_films(files: Sequence[Path], sampling: Sampling) -> None:
    if sampling != Sampling() and not any(map(is_video, files)):
        option = "--every" if sampling.fps is None else "--fps"
        raise UserError(f"{option} chooses the frames of films; none is among the pictures")
