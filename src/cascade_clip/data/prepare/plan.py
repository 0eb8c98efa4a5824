"""What a data set consists of and how its annotations read, before anything is converted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cascade_clip.config import PreparedName
from cascade_clip.data.class_lists import ClassList
from cascade_clip.data.labels import IGNORE, ignored_label
from cascade_clip.data.pairs import read_mask
from cascade_clip.data.prepare.archives import ArchiveFiles
from cascade_clip.errors import UserError
from cascade_clip.io.lines import read_lines

LabelTable = NDArray[np.int32]
"""(V,): the label, or that of ignored pixels, of each value in the owner's annotations; `UNKNOWN`
for others."""
UNKNOWN = -1


class Annotation(Protocol):
    """One picture's annotation in the owner's format."""

    @property
    def path(self) -> Path: ...

    def read(self) -> NDArray[np.integer]:
        """The owner's values (H, W). Raises `UserError` if they can't be read."""
        ...


@dataclass(frozen=True)
class IndexPng:
    """A PNG of indices, as VOC and COCO-Stuff have them."""

    path: Path

    def read(self) -> NDArray[np.integer]:
        return read_mask(self.path)


@dataclass(frozen=True)
class Entry:
    """One picture and its annotation; the files may still lie in an archive."""

    name: str
    picture: Path
    annotation: Annotation


@dataclass(frozen=True)
class Plan:
    """Everything that is to be prepared."""

    name: PreparedName
    made_from: str
    """The annotations; masks made from others are made anew."""
    parts: Mapping[str, Sequence[Entry]]
    """Entries of `train` and `val`."""
    expected: Mapping[str, int]
    """Pictures of each part in the published protocol."""
    table: LabelTable
    archives: Sequence[ArchiveFiles]
    """Where files that are not there may be unpacked from."""
    notes: Sequence[str] = ()
    """What a user should know: what is missing, and where to get it."""

    @property
    def entries(self) -> list[Entry]:
        """Those of all parts."""
        return [entry for entries in self.parts.values() for entry in entries]


def label_table(listed: ClassList, highest: int) -> LabelTable:
    """Labels of the owner's values: `raw_ids[i]` becomes i; other values up to `highest` are
    background, or ignored where that is no class, and 255 is ignored."""
    ignored = ignored_label(len(listed.names))
    table = np.full(max(highest, IGNORE) + 1, UNKNOWN, np.int32)
    table[IGNORE] = ignored
    table[: highest + 1] = 0 if listed.background else ignored
    table[list(listed.raw_ids)] = np.arange(len(listed.raw_ids))
    return table


def read_ids(path: Path) -> list[str]:
    """The picture ids of a list, one a line, in its order.

    Raises `UserError` if the file can't be read or holds something else.
    """
    ids = read_lines(path)
    wrong = [name for name in ids if not re.fullmatch(r"[\w-]+", name)]
    if wrong or not ids:
        found = f"'{wrong[0]}'" if wrong else "nothing"
        raise UserError(f"{path} must list picture ids, one a line; it holds {found}")
    return ids


def nothing_found(root: Path, what: str, expected: Sequence[str]) -> UserError:
    """That a folder holds none of the files from which `what` is prepared."""
    return UserError(f"{root} holds no files of {what}; put there: " + "; ".join(expected))
