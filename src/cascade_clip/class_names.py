"""Typed class names: synonyms, duplicates, and which of them a model was trained on."""

from __future__ import annotations

import re
import reprlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cascade_clip.errors import UserError
from cascade_clip.support.messages import did_you_mean, some_of
from cascade_clip.support.printable import JOINERS, printable, unshown

MAX_CLASSES = 32_767
"""Labels are 16-bit integers."""

MAX_NAME_LENGTH = 1000
"""In characters. No text encoder takes this many, and finding out takes seconds."""

_EXAMPLE = "e.g. 'cat, sofa|couch, wall'"


@dataclass(frozen=True)
class TypedClasses:
    """C classes with K >= C names in all.

    Raises `UserError` for no class at all, and a name that is empty, very long, occurs twice or
    holds characters that can't be seen.
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
        check_characters(self.names)
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
        """Index of the class with this name or synonym, or typed as `sofa|couch`.

        Raises `UserError` if there is none.
        """
        return class_index(self.groups, name)


def class_index(groups: Sequence[Sequence[str]], name: object) -> int:
    """Index of the class, of several with their names and synonyms, that `name` is one of; or all
    of whose names it joins, as in `sofa|couch`. Case and white space don't count.

    Raises `UserError` if there is none.
    """
    if not isinstance(name, str):
        raise UserError(f"a class is called by its name, got {reprlib.repr(name)}")
    plain = [{_plain(known) for known in group} for group in groups]
    for wanted in ({_plain(name)}, set(map(_plain, name.split("|")))):
        for index, known in enumerate(plain):
            if wanted <= known:
                return index
    shown = some_of([group[0] for group in groups])
    hint = did_you_mean(name, (known for group in groups for known in group))
    raise UserError(f"'{name}' is none of the classes {shown}{hint}")


def parse_classes(classes: str | Iterable[str] | TypedClasses) -> TypedClasses:
    """Classes from a list of names or one string with commas or lines; `|` separates synonyms.

    White space around names doesn't count, nor does a comma at the end of a line. Names are
    composed: an accent written as a character of its own joins its letter (Unicode's form NFC).

    Raises `UserError` as `TypedClasses`, for what is neither, and for a string with semicolons,
    which would be one name.
    """
    if isinstance(classes, TypedClasses):
        return classes
    entries = _split(classes) if isinstance(classes, str) else _listed(classes)
    return TypedClasses(tuple(tuple(map(_trim, entry.split("|"))) for entry in entries))


def _listed(classes: object) -> list[str]:
    if not isinstance(classes, Iterable) or isinstance(classes, bytes):
        raise UserError(
            f"class names are one text with commas or a list of texts, {_EXAMPLE}; got "
            f"{reprlib.repr(classes)}"
        )
    entries = list(classes)
    for entry in entries:
        if not isinstance(entry, str):
            raise UserError(f"class names are texts, {_EXAMPLE}; got {reprlib.repr(entry)}")
    return entries


def _split(text: str) -> list[str]:
    """Names from a text with commas or lines."""
    if ";" in text:
        raise UserError(f"separate class names by commas, {_EXAMPLE}; got '{_shortened(text)}'")
    names: list[str] = []
    for line in text.splitlines():
        if line.strip(", \t"):
            *before, last = line.split(",")
            names += [*before, last] if last.strip() else before
    return names


def classes_named(names: Sequence[str]) -> TypedClasses:
    """Classes of exactly these names, such as those of a data set: a `|` is part of a name."""
    return TypedClasses(tuple((name,) for name in names))


def is_blank(name: str) -> bool:
    """Whether a name holds no visible character."""
    return all(unicodedata.category(character)[0] in "CZ" for character in name)


def composed(name: str) -> str:
    """The name in Unicode's form NFC, so that what looks the same is the same."""
    return unicodedata.normalize("NFC", name)


def check_characters(names: Iterable[str]) -> None:
    """Raises `UserError` for a name that is very long, or holds controls, marks without width or
    others that can't be seen: two names could look the same, and a terminal obey one."""
    for name in names:
        if len(name) > MAX_NAME_LENGTH:
            raise UserError(
                f"class name '{_shortened(name)}' is too long: {len(name):,} characters; at most "
                f"{MAX_NAME_LENGTH:,} are taken, and most text encoders read about 70 words"
            )
        if places := unshown(name):
            raise UserError(
                f"class name '{printable(name)}' holds the character "
                f"{printable(name[places[0]])}, which can't be seen; leave it out"
            )


def find_repeated(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that differ in case, spaces or how accents are written alone."""
    taken: dict[str, str] = {}
    for name in names:
        plain = _plain(name)
        if plain in taken:
            return taken[plain], name
        taken[plain] = name
    return None


def trained_names(names: Sequence[str], trained: Sequence[str]) -> list[bool]:
    """For each name whether it is one of the `trained` names, apart from case, spaces, hyphens and
    a simple English plural."""
    known = {form for name in trained for form in _forms(name)}
    return [not known.isdisjoint(_forms(name)) for name in names]


def _trim(name: str) -> str:
    return " ".join(composed(name).split())


def _plain(name: str) -> str:
    without_joiners = name.translate(dict.fromkeys(map(ord, JOINERS)))
    return _trim(without_joiners).casefold()


def _shortened(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _forms(name: str) -> set[str]:
    """The name itself and what it could be the plural of."""
    plain = re.sub(r"[\s_-]+", "", composed(name).casefold())
    forms = {plain}
    if len(plain) > 3 and plain.endswith("ies"):
        forms.add(plain[:-3] + "y")
    if len(plain) > 3 and re.search(r"(s|x|z|ch|sh|o)es$", plain):
        forms.add(plain[:-2])
    if len(plain) > 3 and plain.endswith("s") and not plain.endswith("ss"):
        forms.add(plain[:-1])
    return forms
