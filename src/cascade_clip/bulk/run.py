"""Pictures in, results in a folder out: files are read and written beside the network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from cascade_clip.bulk.items import Failure, Item
from cascade_clip.bulk.journal import Entry, Journal
from cascade_clip.errors import UserError
from cascade_clip.imageio import RGBArray
from cascade_clip.query import Query
from cascade_clip.segmentation import Segmentation
from cascade_clip.segmenter import Segmenter
from cascade_clip.threads import in_threads

WORKERS = 4
"""Threads that read and write files."""
READ_AHEAD, WRITE_BEHIND = 4, 2
"""Pictures that wait in memory for the network, and for their turn to be told as done."""
BATCH = 8
"""Pictures that may go through the network together."""
BATCH_PIXELS = 16_000_000
"""And how many pixels they have at most, if there is more than one."""

Read = tuple[Item, RGBArray]


@dataclass(frozen=True)
class Done:
    """A picture whose results are in the folder."""

    entry: Entry
    before: bool = False
    """An earlier run had done it."""
    note: str | None = None
    """What the user should know about how it was treated."""


@dataclass(frozen=True)
class Task:
    """What is made of each picture, and where it goes."""

    segmenter: Segmenter
    query: Query
    out: Path
    formats: Sequence[str]
    """Any of overlay, labels, coco and npz."""
    journal: Journal

    def run(self, items: Iterable[Item | Failure]) -> Iterator[Done | Failure]:
        """What became of each item, in their order, as soon as its results are written.

        Raises `UserError` if the folder can't be written to.
        """
        with ThreadPoolExecutor(WORKERS) as pool:
            read = in_threads(self._read, items, pool, READ_AHEAD)
            saved = in_threads(self._save, self._segment(read), pool, WRITE_BEHIND)
            for result in saved:
                if isinstance(result, Done) and not result.before:
                    self.journal.add(result.entry)
                yield result

    def _read(self, item: Item | Failure) -> Read | Done | Failure:
        if isinstance(item, Failure):
            return item
        entry = self.journal.done(item, self._files(item), needs_coco="coco" in self.formats)
        if entry is not None:
            return Done(entry, before=True)
        try:
            return item, item.read()
        except UserError as error:
            return Failure(str(error))

    def _segment(
        self, read: Iterable[Read | Done | Failure]
    ) -> Iterator[tuple[Item, Segmentation] | Done | Failure]:
        waiting: list[Read] = []
        for result in read:
            if not isinstance(result, tuple):
                yield from self._together(waiting)
                waiting = []
                yield result
                continue
            pixels = sum(image.shape[0] * image.shape[1] for _, image in (*waiting, result))
            if waiting and (len(waiting) == BATCH or pixels > BATCH_PIXELS):
                yield from self._together(waiting)
                waiting = []
            waiting.append(result)
        yield from self._together(waiting)

    def _together(self, read: Sequence[Read]) -> Iterator[tuple[Item, Segmentation]]:
        results = self.segmenter.segment_batch([image for _, image in read], self.query)
        for (item, _), result in zip(read, results, strict=True):
            yield item, replace(result, name=item.name, file_name=item.file_name)

    def _save(self, result: tuple[Item, Segmentation] | Done | Failure) -> Done | Failure:
        if not isinstance(result, tuple):
            return result
        item, segmentation = result
        if "overlay" in self.formats:
            segmentation.save(self.out / f"{item.name}-overlay.png")
        if "labels" in self.formats:
            segmentation.save_labels(self.out / f"{item.name}-labels.png")
        if "npz" in self.formats:
            segmentation.save(self.out / f"{item.name}.npz")
        height, width = segmentation.labels.shape
        entry = Entry(
            name=item.name,
            source=item.source,
            stamp=item.stamp,
            height=height,
            width=width,
            shares={shown.name: shown.share for shown in segmentation.legend},
            coco=segmentation.to_coco() if "coco" in self.formats else None,
        )
        return Done(entry, note=self.segmenter.sizes.note((height, width)))

    def _files(self, item: Item) -> list[Path]:
        names = {
            "overlay": f"{item.name}-overlay.png",
            "labels": f"{item.name}-labels.png",
            "npz": f"{item.name}.npz",
        }
        return [self.out / names[kind] for kind in self.formats if kind in names]
