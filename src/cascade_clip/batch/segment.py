"""Pictures in, results in a folder out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cascade_clip.batch.items import Failure, Item
from cascade_clip.batch.journal import Entry, Journal
from cascade_clip.batch.pipeline import Pipeline, Read
from cascade_clip.errors import UserError
from cascade_clip.inference.query import Query
from cascade_clip.io.results import segment_files
from cascade_clip.segmentation import Segmentation
from cascade_clip.segmenter import Segmenter


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
        pipeline = Pipeline(self.segmenter, self.query, self._read, self._save)
        for result in pipeline.run(items):
            if isinstance(result, Done) and not result.before:
                self.journal.add(result.entry)
            yield result

    def _read(self, item: Item | Failure) -> Read[Item | Failure] | Done | Failure:
        if isinstance(item, Failure):
            return item
        entry = self.journal.done(item, self.formats)
        if entry is not None:
            return Done(entry, before=True)
        try:
            return Read(item, item.read())
        except UserError as error:
            return Failure(str(error))

    def _save(self, item: Item | Failure, result: Segmentation) -> Done | Failure:
        assert isinstance(item, Item)
        named = replace(result, name=item.name, file_name=item.file_name)
        for kind, name in segment_files(item.name, self.formats).items():
            if kind == "labels":
                named.save_labels(self.out / name)
            else:
                named.save(self.out / name)
        height, width = named.labels.shape
        entry = Entry(
            name=item.name,
            source=item.source,
            stamp=item.stamp,
            formats=tuple(self.formats),
            height=height,
            width=width,
            shares={shown.name: shown.share for shown in named.legend},
            coco=named.to_coco() if "coco" in self.formats else None,
        )
        return Done(entry, note=self.segmenter.predictor.plan((height, width)).note)
