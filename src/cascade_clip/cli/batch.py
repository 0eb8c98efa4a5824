"""What `segment` and `label` share: from pictures that were typed to what became of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cascade_clip.errors import UserError
from cascade_clip.io.find import (
    each_once,
    find_pictures,
    read_list,
    unread_advice,
    unread_in,
)
from cascade_clip.support.messages import Console, notice

if TYPE_CHECKING:
    from cascade_clip.batch.journal import JournalEntry
    from cascade_clip.batch.pipeline import Outcome
    from cascade_clip.io.folder_lock import HeldFolder

STDIN = "-"


def find_files(pictures: Sequence[str], out: Path) -> list[Path]:
    """The files that were typed, and those of a list on standard input. Raises `UserError`."""
    typed = [name for name in pictures if name != STDIN]
    found = find_pictures(typed, out) if typed or STDIN not in pictures else []
    if STDIN in pictures:
        if isinstance(sys.stdin, TextIOWrapper):  # file names need not be UTF-8
            sys.stdin.reconfigure(errors="surrogateescape")
        found = each_once([*found, *read_list(sys.stdin, out)])
    if left_out := unread_in(typed):
        notice(f"left out: {unread_advice(left_out)}")
    return found


@dataclass
class Tally:
    """What became of the pictures."""

    entries: list[JournalEntry] = field(default_factory=list)
    """Of those whose results are in the folder."""
    before: int = 0
    """How many of them an earlier run had done."""
    skipped: list[str] = field(default_factory=list)
    """A line for each file that could not be read."""

    def end(self) -> None:
        """Tells what was skipped, with exit code 1, or 2 (`UserError`) if it was all there was."""
        if not self.entries and len(self.skipped) == 1:
            raise UserError(self.skipped[0])
        for line in self.skipped:
            notice(f"skipped: {line}")
        if self.skipped:
            raise typer.Exit(1)


def tally(
    what: str,
    outcomes: Iterator[Outcome],
    total: int,
    held: HeldFolder,
    notes: Console,
    quiet: bool,
) -> Tally:
    """Runs a batch to its end with a progress bar, then prints notes on pictures."""
    from cascade_clip.batch.items import Failure
    from cascade_clip.cli.progress import picture_bar

    found = Tally()
    told: list[str] = []
    with picture_bar(what, total, quiet or total == 1) as advance:
        for outcome in outcomes:
            held.check()
            if isinstance(outcome, Failure):
                found.skipped.append(outcome.message)
            else:
                found.entries.append(outcome.entry)
                found.before += outcome.before
                if outcome.note is not None:
                    told.append(f"{outcome.entry.source}: {outcome.note}")
            advance(1)
    for line in told:
        notes.print(f"note: {line}", highlight=False, markup=False, soft_wrap=True)
    return found
