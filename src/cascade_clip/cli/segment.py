"""`segment`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cascade_clip.checkpoint.locate import EMBEDDED
from cascade_clip.checkpoint.options import AUTO, read_run_options
from cascade_clip.checkpoint.source import read_source
from cascade_clip.cli.batch import Tally, find_files, tally
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
from cascade_clip.io.find import check_writable, is_video
from cascade_clip.io.results import JOURNAL_FILE, SEGMENT_FORMATS
from cascade_clip.io.video import Sampling, require_video
from cascade_clip.support.messages import counted, some_of

if TYPE_CHECKING:
    from rich.table import Table

    from cascade_clip.batch.journal import JournalEntry
    from cascade_clip.checkpoint.source import ModelSource
    from cascade_clip.inference.query import Query

LEAST_SHARE = 0.0005
"""Share of the pixels from which a class has a row of its own: others would be 0.0%."""


def segment(
    pictures: Annotated[
        list[str],
        typer.Argument(
            help="Picture or video files, folders, or patterns such as 'photos/*.jpg'; - reads a "
            "list of files from standard input."
        ),
    ],
    classes: Annotated[
        str | None,
        typer.Option(
            help="Class names, e.g. 'cat, sofa|couch, wall' (| separates synonyms), or a file with "
            "one per line.",
            show_default="the classes the model was trained on",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("segmented"),
    clip: ClipOption = None,
    method: MethodOption = None,
    model: ModelOption = EMBEDDED,
    pretrained: Pretrained = None,
    device: Device = AUTO,
    precision: PrecisionOption = "fp32",
    inference: InferenceSetting = None,
    save: Annotated[
        str,
        typer.Option(
            help="Comma-separated: overlay (PNG with legend), labels (palette PNG of class "
            "indices, 255: no class), coco (one JSON for all pictures), npz."
        ),
    ] = "overlay",
    background: Background = False,
    background_names: BackgroundNames = None,
    threshold: Threshold = None,
    every: Annotated[int, typer.Option(min=1, help="Use every Nth frame of a video.")] = 1,
    fps: Annotated[
        float | None, typer.Option(help="Use this many frames per second of a video.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Segment everything again, replacing results made with other settings.",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Segment pictures and videos into the classes you name.

    Rerun an interrupted command to resume it.
    """
    formats = read_choices(save, "--save", SEGMENT_FORMATS)
    typed = None if classes is None else read_classes(classes)
    sampling = _read_sampling(every, fps)
    run = read_run_options(device, precision, inference or ())
    source = read_source(model, clip, method, pretrained)
    wanted = read_background(background, threshold, background_names)
    files = find_files(pictures, out)
    _check_videos(files, sampling)
    check_writable(out)  # mistakes show before the heavy imports

    from cascade_clip.batch.formats.coco import write_coco_file
    from cascade_clip.batch.items import count_items, items_of
    from cascade_clip.batch.journal import Journal
    from cascade_clip.batch.pipeline import Pipeline, run_batch
    from cascade_clip.batch.settings import settings_of
    from cascade_clip.batch.task import Task
    from cascade_clip.io.folder_lock import hold_folder
    from cascade_clip.support.messages import Console

    console, notes = Console(), Console(stderr=True)
    groups = None if typed is None else typed.groups
    pipeline = Pipeline(Task(source, groups, wanted, out, tuple(formats), run=run))
    with hold_folder(out) as held:
        query = pipeline.query  # loads the model
        if note := _note(source, query):
            notes.print(note, style="yellow", highlight=False)
        settings = settings_of(source, query.typed.groups, wanted, run)
        journal = Journal(out / JOURNAL_FILE, settings, redo=overwrite)
        if replaced := journal.make_room(files):
            notes.print(replaced, highlight=False, markup=False, soft_wrap=True)
        items = items_of(files, sampling, journal.names())
        outcomes = run_batch(pipeline.run, journal, items, formats)
        done = tally("segmenting", outcomes, count_items(files, sampling), held, notes, quiet)
        write_coco_file(journal)
        if done.entries:
            console.print(_table(done.entries, query))
            if not (quiet or any(any(entry.shares.values()) for entry in done.entries)):
                notes.print(
                    "no pixel has a class: none scored high enough, or all look like the "
                    "background; lower --threshold or leave --background out",
                    style="dim",
                    highlight=False,
                )
            console.print(
                f"{_counts(done)}; results ({', '.join(formats)}) in {out}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    done.end()


def _note(source: ModelSource, query: Query) -> str | None:
    """What to know about the model before its results."""
    if source.is_drawn:
        return DRAWN_NOTE
    if source.clip is None or query.behind or query.thresholds is not None:
        return None
    names = counted(len(query.typed.names), "name")
    return (
        f"every pixel takes one of the {names}; with --background those that look like something "
        "else have no class"
    )


def _counts(done: Tally) -> str:
    text = f"{counted(len(done.entries) - done.before, 'picture')} segmented"
    if done.before:
        them = "it" if done.before == 1 else "them"
        text += f", {done.before} before (--overwrite segments {them} again)"
    return text


def _table(entries: Sequence[JournalEntry], query: Query) -> Table:
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
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    shown = [(name, share) for name, share in ordered if share >= LEAST_SHARE]
    for name, share in shown:
        trained = "yes" if seen[name] else "no"
        table.add_row(escape(short_name(name)), f"{share:.1%}", trained)
    rest = 1 - sum(shares.values())
    if rest > 1e-6:
        table.add_row("(none)", f"{rest:.1%}", "")
    if left_out := [short_name(name) for name, _ in ordered[len(shown) :]]:
        table.caption = escape(f"under 0.05%: {some_of(left_out, 10)}")
    return table


def _read_sampling(every: int, fps: float | None) -> Sampling:
    if fps is not None and every != 1:
        raise UserError("--every and --fps both choose the frames of a video; give one of them")
    if fps is not None and not fps > 0:
        raise UserError(f"--fps is a number above 0, got {fps:g}")
    return Sampling(every, fps)


def _check_videos(files: Sequence[Path], sampling: Sampling) -> None:
    if any(map(is_video, files)):
        require_video()
    elif sampling != Sampling():
        option = "--every" if sampling.fps is None else "--fps"
        raise UserError(f"{option} chooses the frames of videos; none is among the pictures")
