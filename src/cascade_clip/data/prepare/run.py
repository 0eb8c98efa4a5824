"""From a folder with an owner's archives to a prepared data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cascade_clip.config import PreparedName
from cascade_clip.data.class_lists import load_class_list
from cascade_clip.data.prepare import ade20k, cityscapes, coco_stuff, context, masks, voc
from cascade_clip.data.prepare.archives import Progress
from cascade_clip.data.prepare.masks import MaskResult, MaskWriter
from cascade_clip.data.prepare.plan import Entry, Plan
from cascade_clip.data.prepared import SUMMARY_FILE, VERSION, Preparation, prepared_folder
from cascade_clip.errors import UserError
from cascade_clip.io.files import write_text
from cascade_clip.support.parallel import in_processes

PLANS: Mapping[PreparedName, Callable[[PreparedName, Path, Progress], Plan]] = {
    "voc20": voc.plan,
    "voc21": voc.plan,
    "context59": context.plan,
    "context60": context.plan,
    "coco-stuff": coco_stuff.plan,
    "coco-object": coco_stuff.plan,
    "cityscapes": cityscapes.plan,
    "ade20k": ade20k.plan,
    "ade847": ade20k.plan_full,
    "context459": context.plan_full,
}
MADE_FROM = "made-from.txt"
"""Beside the masks: which annotations they are made from, by which version."""


@dataclass(frozen=True)
class Report:
    """What a preparation came to."""

    folder: Path
    counts: Mapping[str, int]
    """Pictures in each list."""
    expected: Mapping[str, int]
    """The same in the published protocol."""
    made: int
    kept: int
    missing: Sequence[Path]
    """Files without which pictures had to be left out."""
    problems: Sequence[str]
    """Files that are damaged or don't fit; their pictures were left out."""
    notes: Sequence[str]


def prepare(name: PreparedName, root: Path, jobs: int, progress: Progress) -> Report:
    """Unpacks what is needed, writes the masks that aren't there, checks all, writes the lists.

    A stopped preparation goes on where it stopped; a complete one is only checked.

    Raises `UserError` if `root` holds no files of the data set, or a damaged archive or list.
    """
    if not root.is_dir():
        raise UserError(f"no such folder: {root}")
    plan = PLANS[name](name, root, progress)
    folder = prepared_folder(root, name)
    _start_over_if_made_otherwise(folder, plan.made_from)
    writer = MaskWriter(folder / "masks", plan.table, load_class_list(name).names)
    kept = _kept(writer, plan, jobs, progress)
    left = [entry for entry in plan.entries if entry.name not in kept]
    for archive in plan.archives:
        archive.obtain([path for entry in left for path in _files(entry)], progress)
    missing = [path for entry in left for path in _files(entry) if not path.is_file()]
    complete = [entry for entry in left if all(path.is_file() for path in _files(entry))]
    made = _outcomes(masks.make, writer, complete, jobs, partial(progress, "writing masks"))
    sound = kept | {outcome.name for outcome in made if not outcome.problem}
    counts = _write_lists(root, writer, plan, sound)
    return Report(
        folder=folder,
        counts=counts,
        expected=plan.expected,
        made=len(sound) - len(kept),
        kept=len(kept),
        missing=missing,
        problems=[outcome.problem for outcome in made if outcome.problem],
        notes=plan.notes,
    )


def _files(entry: Entry) -> tuple[Path, Path]:
    return entry.picture, entry.annotation.path


def _start_over_if_made_otherwise(folder: Path, made_from: str) -> None:
    """Forgets masks made from other annotations, or by another version; and unfinished files."""
    made = f"{made_from}, version {VERSION}\n"
    marker = folder / MADE_FROM
    outdated = not marker.is_file() or marker.read_text(encoding="utf-8") != made
    if outdated:
        (folder / SUMMARY_FILE).unlink(missing_ok=True)
    for mask in (folder / "masks").glob("*.png" if outdated else ".*.png"):
        mask.unlink()
    if outdated:
        write_text(marker, made)


def _kept(writer: MaskWriter, plan: Plan, jobs: int, progress: Progress) -> set[str]:
    """Names of the entries whose masks are there and sound, with their pictures."""
    there = {path.stem for path in writer.folder.glob("*.png")}
    candidates = [e for e in plan.entries if e.name in there and e.picture.is_file()]
    outcomes = _outcomes(masks.check, writer, candidates, jobs, partial(progress, "checking masks"))
    return {outcome.name for outcome in outcomes if not outcome.problem}


def _outcomes(
    function: Callable[[MaskWriter, Entry], MaskResult],
    writer: MaskWriter,
    entries: Sequence[Entry],
    jobs: int,
    progress: Callable[[int, int], None],
) -> list[MaskResult]:
    outcomes: list[MaskResult] = []
    with closing(in_processes(partial(function, writer), entries, jobs)) as results:
        for outcome in results:
            outcomes.append(outcome)
            progress(len(outcomes), len(entries))
    return outcomes


def _write_lists(root: Path, writer: MaskWriter, plan: Plan, sound: set[str]) -> dict[str, int]:
    """`train.txt` and `val.txt` of the sound entries, then the summary; returns their counts."""
    counts = {}
    folder = writer.folder.parent
    for part, entries in plan.parts.items():
        kept = [entry for entry in entries if entry.name in sound]
        counts[part] = len(kept)
        _write_if_new(folder / f"{part}.txt", (_line(root, writer, entry) for entry in kept))
    summary = Preparation(name=plan.name, version=VERSION, counts=counts)
    _write_if_new(folder / SUMMARY_FILE, [summary.model_dump_json(indent=2)])
    return counts


def _line(root: Path, writer: MaskWriter, entry: Entry) -> str:
    mask = writer.mask(entry).relative_to(writer.folder.parent)
    return f"{entry.picture.relative_to(root).as_posix()}\t{mask.as_posix()}"


def _write_if_new(path: Path, lines: Iterable[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
