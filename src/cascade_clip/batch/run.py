"""One run into a folder: goes on where an earlier one stopped, and keeps the journal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from cascade_clip.batch.items import Item
from cascade_clip.batch.journal import Journal
from cascade_clip.batch.pipeline import Done, Outcome

Process = Callable[[Iterable[Item | Outcome]], Iterator[Outcome]]
"""Segments items and passes outcomes on, as `Pipeline.run`."""


def run_batch(
    process: Process, journal: Journal, items: Iterable[Item | Outcome], formats: Sequence[str]
) -> Iterator[Outcome]:
    """What became of each item, as soon as its results are written and the journal says so.

    Raises `UserError` as `process` does, and if the journal can't be written.
    """

    def waiting() -> Iterator[Item | Outcome]:
        for item in items:
            entry = journal.done(item, formats) if isinstance(item, Item) else None
            if entry is not None:
                yield Done(entry, before=True)
                continue
            if isinstance(item, Item):
                journal.begin()  # before there are results
            yield item

    try:
        for outcome in process(waiting()):
            if isinstance(outcome, Done) and not outcome.before:
                journal.add(outcome.entry, outcome.segments)
            yield outcome
    finally:
        journal.end()
