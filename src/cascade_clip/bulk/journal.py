"""What was segmented into a folder, and how: one line for each picture, written when it is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cascade_clip.bulk.items import Item
from cascade_clip.checkpoint.places import CONFIG_FILE, WEIGHTS_FILE
from cascade_clip.errors import UserError
from cascade_clip.imageio import write_whole

JOURNAL_FILE = "segmented.jsonl"


@dataclass(frozen=True)
class Entry:
    """A picture whose results are written."""

    name: str
    source: str
    stamp: str
    height: int
    width: int
    shares: Mapping[str, float]
    """Fraction of the pixels by class, 0..1; what is missing to 1 has no class."""
    coco: Mapping[str, Any] | None
    """Its COCO record, where one was asked for."""


class Journal:
    """The file `segmented.jsonl` of a folder: the settings, then an entry to a line.

    Entries of other settings are dropped when the first new one is added.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, fresh: bool = False) -> None:
        self.path = folder / JOURNAL_FILE
        self.settings = json.loads(json.dumps(settings))
        self.entries: dict[str, Entry] = {} if fresh else self._read()
        self._begun = False

    def done(self, item: Item, files: list[Path], *, needs_coco: bool) -> Entry | None:
        """The entry of a picture that need not be segmented again: the file is as it was, and its
        results `files` are there."""
        entry = self.entries.get(item.name)
        if entry is None or (entry.source, entry.stamp) != (item.source, item.stamp):
            return None
        if needs_coco and entry.coco is None:
            return None
        return entry if all(file.is_file() for file in files) else None

    def add(self, entry: Entry) -> None:
        """Raises `UserError` if the folder can't be written to."""
        self.entries[entry.name] = entry
        if not self._begun:  # also gets rid of lines that a killed run left unfinished
            lines = [json.dumps({"settings": self.settings}), *map(_line, self.entries.values())]
            text = "\n".join(lines) + "\n"
            write_whole(self.path, lambda file: file.write_text(text, encoding="utf-8"))
            self._begun = True
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(_line(entry) + "\n")
        except OSError as error:
            raise UserError(f"can't write {self.path}: {error.strerror or error}") from error

    def _read(self) -> dict[str, Entry]:
        try:
            head, *lines = self.path.read_text(encoding="utf-8").splitlines()
            if json.loads(head)["settings"] != self.settings:
                return {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}  # none, or none of this program's
        entries = {}
        for line in lines:
            try:
                entry = Entry(**json.loads(line))
            except (ValueError, TypeError):
                continue  # the line that a killed run was at
            entries[entry.name] = entry
        return entries


def settings_of(
    model: Path, classes: tuple[tuple[str, ...], ...], background: bool | float
) -> dict[str, Any]:
    """Whatever decides the results: changed settings make a folder's results void."""
    digest = hashlib.sha256()
    weights = [model] if model.is_file() else [model / CONFIG_FILE, model / WEIGHTS_FILE]
    for file in weights:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return {
        "cascade-clip": version("cascade-clip"),
        "model": digest.hexdigest(),
        "classes": classes,
        "background": background,
    }


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry), ensure_ascii=False)
