"""What was made of pictures into a folder, and how: one line for each picture, written when it is
done."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cascade_clip.batch.items import Item
from cascade_clip.batch.names import names_of_sources, source_of
from cascade_clip.batch.segments import Segment
from cascade_clip.batch.settings import difference
from cascade_clip.errors import UserError
from cascade_clip.io.files import write_whole
from cascade_clip.io.results import COCO_FILE, result_files
from cascade_clip.support.messages import counted, some_of
from cascade_clip.support.plain_values import parse_json

MOST_NAMED = 3
"""Pictures that a message names."""


@dataclass(frozen=True)
class JournalEntry:
    """A picture whose results are written."""

    name: str
    """Stem of its results."""
    source: str
    """Absolute path of the file that it comes from."""
    stamp: str
    """As `file_stamp` gives it: of the file that was read."""
    formats: tuple[str, ...]
    """Those that its results are there in."""
    height: int
    width: int
    confidence: float
    """`expected_iou` of its labels, 0..1."""
    shares: Mapping[str, float]
    """Fraction of the pixels by class, 0..1; what is missing to 1 has no class."""


class Journal:
    """A file of JSON lines: the settings, then an entry to a line, with its segments where any were
    asked for. Segments stay on the disk, so that a large data set need not fit into memory.

    It holds results of one set of settings. `old` are entries of another: `make_room` deletes
    what they list. With `redo`, pictures count as not done.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any], *, redo: bool = False) -> None:
        self.folder, self.path = path.parent, path
        self.settings = settings
        self.redo = redo
        self._begun = self._replaced = False
        self._places: dict[str, int] = {}
        """Where the line of each entry begins, in bytes."""
        stored, entries = self._read()
        self.difference = difference(stored, settings) if entries else None
        self.entries, self.old = ({}, entries) if self.difference else (entries, {})
        if self.old:
            self._places = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, of synonyms the first."""
        return tuple(group[0] for group in self.settings["classes"])

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
        for entry in self.old.values():
            self._delete(entry.name, entry.formats)
        self.path.unlink(missing_ok=True)  # the last: a stopped run can be repeated
        return f"replaced: results of {count}, made with {self.difference}"

    def done(self, item: Item, formats: Sequence[str]) -> JournalEntry | None:
        """The entry of a picture that need not be segmented again: the file is as it was, and its
        results in these formats are there."""
        entry = self.entries.get(item.name)
        if self.redo or entry is None or not {*formats} <= {*entry.formats}:
            return None
        if (entry.source, entry.stamp) != (item.source, item.stamp):
            return None
        files = result_files(item.name, formats).values()
        return entry if all((self.folder / file).is_file() for file in files) else None

    def begin(self) -> None:
        """Writes the file anew, without lines that a killed run left unfinished and those that
        later ones replaced; does nothing when called again. Raises `UserError`."""
        if self._begun:
            return
        places = {}

        def write(path: Path) -> None:
            with path.open("wb") as file:
                file.write(_encoded({"settings": self.settings}))
                for name, line in zip(self.entries, self._lines(self.entries), strict=True):
                    places[name] = file.tell()
                    file.write(line)

        write_whole(self.path, write)
        self._places, self._begun = places, True

    def end(self) -> None:
        """Removes a file that has no entries, and from others the lines that later ones replaced.
        Raises `UserError`."""
        if self._begun and not self.entries:
            self.path.unlink(missing_ok=True)
        elif self._replaced and self.path.is_file():
            self._begun = self._replaced = False
            self.begin()

    def add(self, entry: JournalEntry, segments: Sequence[Segment] | None = None) -> None:
        """Keeps what is there of the picture in other formats; deletes it if the picture changed.

        Raises `UserError` if the folder can't be written to.
        """
        self.begin()
        before = self.entries.get(entry.name)
        self._replaced |= before is not None
        if before is not None and before.stamp == entry.stamp:
            formats = tuple(dict.fromkeys([*before.formats, *entry.formats]))
            entry = replace(entry, formats=formats)
            if segments is None:
                (segments,) = self.segments([entry.name])
        elif before is not None:
            self._delete(entry.name, [kind for kind in before.formats if kind not in entry.formats])
        kept = None if segments is None else [asdict(segment) for segment in segments]
        line = asdict(entry) | {"segments": kept}
        try:
            with self.path.open("ab") as file:
                self._places[entry.name] = file.tell()
                file.write(_encoded(line))
        except OSError as error:
            raise UserError(f"can't write {self.path}: {error.strerror or error}") from error
        self.entries[entry.name] = entry

    def segments(self, names: Iterable[str]) -> Iterator[tuple[Segment, ...] | None]:
        """The segments of each of these entries, read one after the other; None: they were not
        asked for."""
        for line in self._lines(names):
            stored = json.loads(line)["segments"]
            yield (
                None
                if stored is None
                else tuple(
                    Segment(**{**segment, "bbox": tuple(segment["bbox"])}) for segment in stored
                )
            )

    def _lines(self, names: Iterable[str]) -> Iterator[bytes]:
        if self._places:
            with self.path.open("rb") as file:
                for name in names:
                    file.seek(self._places[name])
                    yield file.readline()

    def _delete(self, name: str, formats: Sequence[str]) -> None:
        """Deletes the results of a picture in these formats; of `coco`, all pictures' file."""
        files = [*result_files(name, formats).values(), *(COCO_FILE for _ in {"coco"} & {*formats})]
        for file in files:
            try:
                (self.folder / file).unlink(missing_ok=True)
            except OSError as error:
                raise UserError(
                    f"can't delete {self.folder / file}: {error.strerror or error}"
                ) from error

    def _read(self) -> tuple[Mapping[str, Any], dict[str, JournalEntry]]:
        entries: dict[str, JournalEntry] = {}
        try:
            with self.path.open("rb") as file:
                settings = dict(parse_json(file.readline(), "the head")["settings"])
                place = file.tell()
                for line in file:
                    if entry := _entry(line):
                        entries[entry.name] = entry
                        self._places[entry.name] = place
                    place += len(line)
        except (OSError, UserError, ValueError, KeyError, TypeError):
            return {}, {}  # none, or none of this program's
        return settings, entries


def _entry(line: bytes) -> JournalEntry | None:
    try:
        values = parse_json(line, "a line")
        values.pop("segments")
        return JournalEntry(**{**values, "formats": tuple(values["formats"])})
    except (UserError, ValueError, KeyError, TypeError):
        return None  # the line that a killed run was at


def _encoded(line: Mapping[str, Any]) -> bytes:
    # Of names that are no UTF-8, `json` reads the escapes back as what they stand for.
    text = json.dumps(line, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")
