"""Pictures through the network, several at once, while others are read and results are written.

A run into a folder goes on where an earlier one stopped, and keeps the journal.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

from cascade_clip.batch.items import Failure, Item
from cascade_clip.batch.journal import Journal, JournalEntry
from cascade_clip.batch.segments import Segment, class_segments, expected_iou, find_segments
from cascade_clip.batch.task import Task
from cascade_clip.errors import UserError
from cascade_clip.inference.predictor import BATCH, BATCH_PIXELS
from cascade_clip.inference.query import Query
from cascade_clip.io.images import RGBArray
from cascade_clip.io.results import result_files
from cascade_clip.segmentation import Segmentation
from cascade_clip.segmenter import Segmenter, ShrunkPicture, open_segmenter
from cascade_clip.support.parallel import in_threads

WORKERS = 4
"""Threads that read and write files."""
READ_AHEAD, WRITE_BEHIND = 4, 2
"""Pictures that wait in memory for the network, and for their turn to be reported."""


@dataclass(frozen=True)
class Done:
    """A picture whose results are in the folder."""

    entry: JournalEntry
    segments: tuple[Segment, ...] | None = None
    before: bool = False
    """An earlier run had done it."""
    note: str | None = None
    """What the user should know about how it was treated."""


@dataclass(frozen=True)
class _Read:
    item: Item
    image: RGBArray


@dataclass(frozen=True)
class _Segmented:
    item: Item
    result: Segmentation


Outcome = Done | Failure
Process = Callable[[Iterable[Item | Outcome]], Iterator[Outcome]]
"""Segments items and passes outcomes on, as `Pipeline.run`."""


@dataclass(frozen=True)
class Pipeline:
    """Segments pictures and writes their results; the model is loaded for the first of them."""

    task: Task

    @cached_property
    def segmenter(self) -> Segmenter:
        """The model. Raises `UserError` for one that can't be loaded."""
        return open_segmenter(self.task.model, self.task.run)

    @cached_property
    def query(self) -> Query:
        """The classes. Raises `UserError` for names and thresholds that can't be used."""
        groups = self.task.classes
        names = None if groups is None else ["|".join(group) for group in groups]
        background = self.task.background
        return self.segmenter.query(
            names, background=background.threshold, background_names=background.names
        )

    def run(self, items: Iterable[Item | Outcome]) -> Iterator[Outcome]:
        """What became of each item, in their order, as soon as its results are written; outcomes
        among the items are passed on.

        Items are drawn in the calling thread. Raises `UserError` if the folder can't be written to.
        """
        with ThreadPoolExecutor(WORKERS) as pool:
            read = in_threads(_read, items, pool, READ_AHEAD)
            yield from in_threads(self._save, self._segment(read), pool, WRITE_BEHIND)

    def _segment(self, results: Iterable[_Read | Outcome]) -> Iterator[_Segmented | Outcome]:
        waiting: list[_Read] = []
        for result in results:
            if not isinstance(result, _Read):
                yield from self._together(waiting)
                waiting = []
                yield result
                continue
            pixels = sum(image.shape[0] * image.shape[1] for image in _images([*waiting, result]))
            if waiting and (len(waiting) == BATCH or pixels > BATCH_PIXELS):
                yield from self._together(waiting)
                waiting = []
            waiting.append(result)
        yield from self._together(waiting)

    def _together(self, read: Sequence[_Read]) -> Iterator[_Segmented]:
        if not read:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ShrunkPicture)  # the note says it with a name
            results = self.segmenter.segment_decoded(_images(read), self.query)
        for picture, result in zip(read, results, strict=True):
            yield _Segmented(picture.item, result)

    def _save(self, segmented: _Segmented | Outcome) -> Outcome:
        if not isinstance(segmented, _Segmented):
            return segmented
        done = write_results(self.task, segmented.item, segmented.result)
        size = (done.entry.height, done.entry.width)
        return replace(done, note=self.segmenter.predictor.plan(size).note)


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


def write_results(task: Task, item: Item, result: Segmentation) -> Done:
    """Writes what a task makes of a picture; `result` must carry its confidence. Raises
    `UserError`."""
    result = replace(result, name=item.name)
    for kind, file in result_files(item.name, task.formats).items():
        save = result.save_labels if kind in ("labels", "masks") else result.save
        save(task.out / file)
    segments = None
    if task.min_area is not None:
        segments = tuple(find_segments(result, task.min_area))
    elif "coco" in task.formats:
        segments = tuple(class_segments(result))
    assert result.confidence is not None
    height, width = result.labels.shape
    entry = JournalEntry(
        name=item.name,
        source=item.source,
        stamp=item.stamp,
        formats=task.formats,
        height=height,
        width=width,
        confidence=expected_iou(result.labels, result.confidence),
        shares={shown.name: shown.share for shown in result.legend},
    )
    return Done(entry, segments)


def _read(item: Item | Outcome) -> _Read | Outcome:
    if not isinstance(item, Item):
        return item
    try:
        return _Read(item, item.read())
    except UserError as error:
        return Failure(str(error))


def _images(read: Iterable[_Read]) -> list[RGBArray]:
    return [picture.image for picture in read]
