"""Labelled pictures, as formats of data sets and the review sheet take them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cascade_clip.batch.journal import Journal, JournalEntry
from cascade_clip.batch.segments import Segment
from cascade_clip.batch.settings import settings_of
from cascade_clip.batch.task import Task
from cascade_clip.errors import UserError
from cascade_clip.io.find import file_stamp
from cascade_clip.io.palette import RGB, class_colours
from cascade_clip.io.polygons import Ring, simplified, without_holes
from cascade_clip.io.results import LABELLED_FILE, MASKS, result_files


@dataclass(frozen=True)
class Labels:
    """Entries of a journal, sorted by name; each has a mask (palette PNG, 255: no class) and
    segments."""

    journal: Journal
    entries: tuple[JournalEntry, ...]
    left_out: frozenset[str] = frozenset()
    """Names of those that don't count."""
    simplify: float = 0.0
    """Pixels by which the lines of polygons may leave the masks' outlines; 0: not at all."""
    upright: bool = False
    """Whether turned pictures are written upright, as their masks are, for tools without EXIF."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, of synonyms the first."""
        return self.journal.classes

    @property
    def colours(self) -> list[RGB]:
        """One colour for each class."""
        return class_colours(self.classes)

    @property
    def names(self) -> list[str]:
        """Names of all entries, in their order."""
        return [entry.name for entry in self.entries]

    def mask(self, name: str) -> Path:
        """The mask file of a picture."""
        return self.journal.folder / result_files(name, [MASKS])[MASKS]

    def segments(self) -> Iterator[tuple[Segment, ...]]:
        """The segments of each entry; those of one are in memory at a time."""
        return (segments or () for segments in self.journal.segments(self.names))

    def with_segments(self) -> Iterator[tuple[JournalEntry, tuple[Segment, ...]]]:
        """Each entry with its segments."""
        return zip(self.entries, self.segments(), strict=True)

    def outline(self, segment: Segment) -> Ring:
        """The polygon of a connected segment, for formats that know no holes."""
        rings = segment.rings
        if self.simplify:
            rings = tuple(simplified(ring, self.simplify) for ring in rings)
        return without_holes(rings)

    def without(self, names: Iterable[str]) -> Labels:
        """The labels that are left without those of these names."""
        left_out = self.left_out | {*names}
        entries = tuple(entry for entry in self.entries if entry.name not in left_out)
        return replace(self, entries=entries, left_out=left_out)

    def without_stale(self) -> tuple[Labels, list[str]]:
        """The labels that still fit their pictures, and a line for each of the others."""
        problems = {entry.name: self._problem(entry) for entry in self.entries}
        stale = {name: problem for name, problem in problems.items() if problem is not None}
        return self.without(stale), [*stale.values()]

    def _problem(self, entry: JournalEntry) -> str | None:
        now = file_stamp(Path(entry.source))
        if now == "missing":
            return (
                f"{entry.source} is gone; its labels are left out "
                f"(without its line in {self.journal.path}, nothing is said of it)"
            )
        if now != entry.stamp:
            return f"{entry.source} has changed since it was labelled; its labels are left out"
        if not self.mask(entry.name).is_file():
            return f"{self.mask(entry.name)} is gone; {entry.source} is left out"
        return None


def labels_of(journal: Journal) -> Labels:
    """All labels of a journal."""
    return Labels(journal, tuple(sorted(journal.entries.values(), key=lambda entry: entry.name)))


def labelling_journal(task: Task) -> Journal:
    """The journal of labels in a folder, new or to be gone on with. Writes nothing.

    Raises `UserError` if the folder holds labels made with other settings, or masks that are not
    of this program.
    """
    assert task.classes is not None
    settings = settings_of(task.model, task.classes, task.background, task.run)
    out, masks = task.out, task.out / MASKS
    journal = Journal(out / LABELLED_FILE, settings | {"min_area": task.min_area})
    if not journal.path.is_file() and masks.is_dir() and any(masks.iterdir()):
        raise UserError(
            f"{masks} holds files that label did not write, and would overwrite; choose another "
            "--out"
        )
    if journal.old:
        raise UserError(
            f"{out} holds labels made with {journal.difference}; choose another --out, or remove it"
        )
    return journal
