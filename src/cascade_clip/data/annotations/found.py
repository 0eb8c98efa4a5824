"""What readers of annotations give, whatever the format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from cascade_clip.data.annotations.regions import Region
from cascade_clip.errors import UserError
from cascade_clip.io.coco import Mask

Part = Literal["train", "val"]
NOT_TAKEN_SHOWN = 3
"""Entries that are named of each kind that is not taken."""


@dataclass(frozen=True)
class Annotation:
    """A region of one class."""

    label: str
    """Its class, as the file calls it."""
    region: Region
    entry: str
    """What messages call it."""
    z: int = 0
    """Those of higher numbers lie on top."""


class LabelImage(Protocol):
    """A picture whose colours or numbers stand for classes."""

    @property
    def path(self) -> Path: ...

    def masks(self) -> Iterator[tuple[str | None, Mask]]:
        """The pixels (H, W) of each class in it; None is no class. Raises `UserError` if it can't
        be read or holds what stands for nothing."""
        ...


@dataclass
class Annotated:
    """One picture's annotations."""

    picture: str
    """As the file names it: a name, a path or the end of one."""
    entry: str
    """What messages call it."""
    size: tuple[int, int] | None = None
    """(height, width) that the file says; None: it doesn't."""
    annotations: list[Annotation] = field(default_factory=list)
    image: LabelImage | None = None
    """Instead of annotations."""
    part: Part | None = None
    """What the format says the picture is for."""
    by_stem: bool = False
    """Whether `picture` lacks its ending."""


@dataclass
class Found:
    """All that a reader found in a file or folder."""

    format: str
    """What the format is called."""
    source: Path
    names: Sequence[str] = ()
    """The classes in their order; those that are not listed follow."""
    pictures: list[Annotated] = field(default_factory=list)
    ordered: bool = True
    """Whether later annotations lie on top; else smaller ones do."""
    not_taken: Counter[str] = field(default_factory=Counter)
    """How many of each kind were left out."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """The first of each kind, named."""

    def leave_out(self, what: str, entry: str) -> None:
        """Counts something that is not taken; some of each kind are named."""
        self.not_taken[what] += 1
        named = self.examples.setdefault(what, [])
        if len(named) < NOT_TAKEN_SHOWN:
            named.append(entry)


def wrong_format(path: Path, wanted: str, error: object) -> UserError:
    """That a file is not what it seems to be."""
    return UserError(f"{path} is no {wanted}: {error}")
