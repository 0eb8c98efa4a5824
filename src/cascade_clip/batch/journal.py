"""What was segmented into a folder, and how: one line for each picture, written when it is done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cascade_clip.batch.items import Item
from cascade_clip.batch.names import names_of_sources, source_of
from cascade_clip.batch.settings import difference
from cascade_clip.errors import UserError
from cascade_clip.io import coco
from cascade_clip.io.files import write_text
from cascade_clip.io.results import COCO_FILE, JOURNAL_FILE, segment_files
from cascade_clip.support.messages import counted, some_of
from cascade_clip.support.plain_values import parse_json

MOST_NAMED = 3
"""Pictures that a message names."""


@dataclass(frozen=True)
class Entry:
    """A picture whose results are written."""

    name: str
    source: str
    stamp: str
    formats: tuple[str, ...]
    """Those that its results are there in."""
    height: int
    width: int
    shares: Mapping[str, float]
    """Fraction of the pixels by class, 0..1; what is missing to 1 has no class."""
    coco: Mapping[str, Any] | None
    """Its COCO record, where one was asked for."""


class Journal:
    """The file `segmented.jsonl` of a folder: the settings, then an entry to a line.

    It holds results of one set of settings. `old` are entries of another: `make_room` deletes
    what they list. With `redo`, pictures count as not done.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, redo: bool = False) -> None:
        self.folder, self.path = folder, folder / JOURNAL_FILE
        self.settings = settings
        self.redo = redo
        stored, entries = self._read()
        self.difference = difference(stored, settings) if entries else None
        self.entries = {} if self.difference else entries
        self.old = entries if self.difference else {}
        self._begun = False

    def names(self) -> dict[str, str]:
        """The names of results, by source: `result_names` keeps them."""
        return names_of_sources((entry.source, entry.name) for entry in self.entries.values())

    def make_room(self, files: Iterable[Path]) -> str | None:
        """Deletes results of other settings, which would get mixed up with new ones, if there are
        new ones for all of them: if `files` are all their pictures, or with `redo`. Returns what
        to tell the user.

        Raises `UserError` if there are other pictures among them.
        """
        if not self.old:
            return None
        sources = list(dict.fromkeys(entry.source for entry in self.old.values()))
        count = counted(len(self.old), "picture")
        others = {*sources} - {source_of(file) for file in files}
        if others and not self.redo:
            named = some_of(sorted(Path(source).name for source in others), MOST_NAMED)
            raise UserError(
                f"{self.folder} holds results of {count}, made with {self.difference}; "
                f"not among those typed: {named}; choose another --out, or --overwrite, which "
                "deletes them"
            )
        names = [file for entry in self.old.values() for file in segment_files(entry.name).values()]
        if any(entry.coco is not None for entry in self.old.values()):
            names.append(COCO_FILE)
        for name in (*names, JOURNAL_FILE):  # the journal last: a stopped run can be repeated
            self._delete(name)
        return f"replaced: results of {count}, made with {self.difference}"

    def done(self, item: Item, formats: Sequence[str]) -> Entry | None:
        """The entry of a picture that need not be segmented again: the file is as it was, and its
        results in these formats are there."""
        entry = self.entries.get(item.name)
        if self.redo or entry is None or not {*formats} <= {*entry.formats}:
            return None
        if (entry.source, entry.stamp) != (item.source, item.stamp):
            return None
        files = segment_files(item.name, formats).values()
        return entry if all((self.folder / file).is_file() for file in files) else None

    def add(self, entry: Entry) -> None:
        """Keeps what is there of the picture in other formats; deletes it if the picture changed.

        Raises `UserError` if the folder can't be written to.
        """
        before = self.entries.get(entry.name)
        if before is not None and before.stamp == entry.stamp:
            formats = tuple(dict.fromkeys([*before.formats, *entry.formats]))
            entry = replace(entry, formats=formats, coco=entry.coco or before.coco)
        elif before is not None:
            rest = [kind for kind in before.formats if kind not in entry.formats]
            for name in segment_files(entry.name, rest).values():
                self._delete(name)
            if "coco" in rest:
                self._delete(COCO_FILE)
        self.entries[entry.name] = entry
        self._write(entry)

    def write_coco(self) -> None:
        """One file with the COCO records of all pictures that have one; those of equal file names
        go by the names of their results. Raises `UserError`."""
        records: list[dict[str, Any]] = []
        taken: set[str] = set()
        for entry in self.entries.values():
            if entry.coco is not None:
                (image,) = entry.coco["images"]
                called = image["file_name"]
                if called in taken:
                    called = entry.name + Path(called).suffix
                taken.add(called)
                records.append({**entry.coco, "images": [{**image, "file_name": called}]})
        if records:
            text = json.dumps(coco.merge(records), ensure_ascii=False)
            path = self.folder / COCO_FILE
            write_text(path, text)

    def _write(self, entry: Entry) -> None:
        if not self._begun:  # also gets rid of lines that a killed run left unfinished
            lines = [json.dumps({"settings": self.settings}), *map(_line, self.entries.values())]
            text = "\n".join(lines) + "\n"
            write_text(self.path, text)
            self._begun = True
            return
        try:
            with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(_line(entry) + "\n")
        except OSError as error:
            raise UserError(f"can't write {self.path}: {error.strerror or error}") from error

    def _delete(self, name: str) -> None:
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"can't delete {self.folder / name}: {error.strerror or error}"
            ) from error

    def _read(self) -> tuple[Mapping[str, Any], dict[str, Entry]]:
        try:
            # Not `splitlines`: names may hold characters that it takes for ends of lines.
            head, *lines = self.path.read_text(encoding="utf-8").split("\n")
            settings = dict(parse_json(head, "the head")["settings"])
        except (OSError, UserError, ValueError, KeyError, TypeError):
            return {}, {}  # none, or none of this program's
        entries = {}
        for line in lines:
            try:
                values = parse_json(line, "a line")
                entry = Entry(**{**values, "formats": tuple(values["formats"])})
            except (UserError, ValueError, KeyError, TypeError):
                continue  # the line that a killed run was at
            entries[entry.name] = entry
        return settings, entries


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry), ensure_ascii=False)
