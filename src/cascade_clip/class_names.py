"""Typed class names: synonyms, duplicates, and which of them a model was trained on."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cascade_clip.errors import UserError

MAX_CLASSES = 32_767
"""Labels are 16-bit integers."""

MAX_NAME_LENGTH = 1000
"""In characters. No text encoder takes so many, and to find that out takes seconds."""

_EXAMPLE = "e.g. 'cat, sofa|couch, wall'"


@dataclass(frozen=True)
class TypedClasses:
    """C classes with K >= C names in all.

    Raises `UserError` for no class at all, an empty name, one that is very long or occurs twice.
    """

    groups: tuple[tuple[str, ...], ...]
    """For each class its name and synonyms."""

    def __post_init__(self) -> None:
        if not self.groups:
            raise UserError(f"no class names given; give at least one, {_EXAMPLE}")
        if len(self.groups) > MAX_CLASSES:
            raise UserError(f"{len(self.groups):,} classes; at most {MAX_CLASSES:,} are taken")
        if any(map(is_blank, self.names)):
            raise UserError(f"an empty class name among those given; leave it out, {_EXAMPLE}")
        check_lengths(self.names)
        if repeated := find_repeated(self.names):
            raise UserError(f"class name '{repeated[1]}' is given twice; name each class once")

    @property
    def names(self) -> tuple[str, ...]:
        """All K names, class by class."""
        return tuple(name for group in self.groups for name in group)

    @property
    def class_of_name(self) -> tuple[int, ...]:
        """For each of the K names the index of its class."""
        return tuple(index for index, group in enumerate(self.groups) for _ in group)

    def index(self, name: str) -> int:
        """Index of the class with this name or synonym.

        Raises `UserError` if there is none.
        """
        wanted = _trim(name).casefold()
        for index, group in enumerate(self.groups):
            if wanted in (known.casefold() for known in group):
                return index
        shown = some_of([group[0] for group in self.groups])
        raise UserError(f"'{name}' is none of the classes {shown}")


def parse_classes(classes: str | Sequence[str] | TypedClasses) -> TypedClasses:
    """Classes from a list of names or one string with commas; `|` separates synonyms.

    White space around names doesn't count, nor does a comma at the end of the string.

    Raises `UserError` as `TypedClasses`.
    """
    if isinstance(classes, TypedClasses):
        return classes
    if isinstance(classes, str):
        classes = classes.split(",") if classes.strip(", \t\n") else []
        if classes and not classes[-1].strip():
            classes.pop()
    for entry in classes:
        if not isinstance(entry, str):
            raise UserError(f"class names are texts, got {entry!r}")
    return TypedClasses(tuple(tuple(map(_trim, entry.split("|"))) for entry in classes))


def classes_named(names: Sequence[str]) -> TypedClasses:
    """Classes of exactly these names, such as those of a data set: a `|` is part of a name."""
    return TypedClasses(tuple((name,) for name in names))


def is_blank(name: str) -> bool:
    """Whether a name holds no visible character."""
    return all(unicodedata.category(character)[0] in "CZ" for character in name)


def check_lengths(names: Iterable[str]) -> None:
    """Raises `UserError` for a name that is very long."""
    for name in names:
        if len(name) > MAX_NAME_LENGTH:
            raise UserError(
                f"class name '{name[:37]}...' is too long: {len(name):,} characters; at most "
                f"{MAX_NAME_LENGTH:,} are taken, and most text encoders read about 70 words"
            )


def find_repeated(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that differ in case or spaces alone: they have one text embedding."""
    taken: dict[str, str] = {}
    for name in names:
        plain = _trim(name).casefold()
        if plain in taken:
            return taken[plain], name
        taken[plain] = name
    return None


def some_of(names: Sequence[str], most: int = 30) -> str:
    """Names for a message: all, or the first and how many there are besides."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most:,} others"


def trained_names(names: Sequence[str], trained: Sequence[str]) -> list[bool]:
    """For each name whether it is one of the `trained` names, apart from case, spaces, hyphens and
    a simple English plural."""
    known = {form for name in trained for form in _forms(name)}
    return [not known.isdisjoint(_forms(name)) for name in names]


def _trim(name: str) -> str:
    return " ".join(name.split())


def _forms(name: str) -> set[str]:
    """The name itself and what it could be the plural of."""
    plain = re.sub(r"[\s_-]+", "", name.casefold())
    forms = {plain}
    if len(plain) > 3 and plain.endswith("ies"):
        forms.add(plain[:-3] + "y")
    if len(plain) > 3 and re.search(r"(s|x|z|ch|sh|o)es$", plain):
        forms.add(plain[:-2])
    if len(plain) > 3 and plain.endswith("s") and not plain.endswith("ss"):
        forms.add(plain[:-1])
    return forms
