"""Pictures through the network, several at once, while others are read and results are written."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from cascade_clip.inference.predictor import BATCH, BATCH_PIXELS
from cascade_clip.inference.query import Query
from cascade_clip.io.images import RGBArray
from cascade_clip.segmentation import Segmentation
from cascade_clip.segmenter import Segmenter, ShrunkPicture
from cascade_clip.support.parallel import in_threads

WORKERS = 4
"""Threads that read and write files."""
READ_AHEAD, WRITE_BEHIND = 4, 2
"""Pictures that wait in memory for the network, and for their turn to be told as done."""

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Read(Generic[Item]):
    """An item with the pixels (H, W, 3) of its picture."""

    item: Item
    image: RGBArray


@dataclass(frozen=True)
class _Segmented(Generic[Item]):
    item: Item
    result: Segmentation


@dataclass(frozen=True)
class Pipeline(Generic[Item, Outcome]):
    """What is done with each item."""

    segmenter: Segmenter
    query: Query
    read: Callable[[Item], Read[Item] | Outcome]
    """Pixels, or what became of an item that has none to segment. Called in a thread, as `save`."""
    save: Callable[[Item, Segmentation], Outcome]

    def run(self, items: Iterable[Item]) -> Iterator[Outcome]:
        """What became of each item, in their order, as soon as it is known.

        Items are drawn in the calling thread. What `read` and `save` raise is raised here.
        """
        with ThreadPoolExecutor(WORKERS) as pool:
            read = in_threads(self.read, items, pool, READ_AHEAD)
            yield from in_threads(self._save, self._segment(read), pool, WRITE_BEHIND)

    def _segment(
        self, results: Iterable[Read[Item] | Outcome]
    ) -> Iterator[_Segmented[Item] | Outcome]:
        waiting: list[Read[Item]] = []
        for result in results:
            if not isinstance(result, Read):
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

    def _together(self, read: Sequence[Read[Item]]) -> Iterator[_Segmented[Item]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ShrunkPicture)  # `save` can say it with a name
            results = self.segmenter.segment_decoded(_images(read), self.query)
        for picture, result in zip(read, results, strict=True):
            yield _Segmented(picture.item, result)

    def _save(self, result: _Segmented[Item] | Outcome) -> Outcome:
        return self.save(result.item, result.result) if isinstance(result, _Segmented) else result


def _images(read: Iterable[Read[Item]]) -> list[RGBArray]:
    return [picture.image for picture in read]
