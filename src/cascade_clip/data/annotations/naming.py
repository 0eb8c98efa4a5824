"""From the names in annotations to labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade_clip.class_names import composed
from cascade_clip.config import Background
from cascade_clip.data.annotations.found import Found
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.folder import BACKGROUND
from cascade_clip.data.labels import IGNORE
from cascade_clip.data.pairs import check_count
from cascade_clip.errors import UserError
from cascade_clip.support.messages import did_you_mean, some_of
from cascade_clip.support.plain_values import named, read_yaml

BACKGROUND_NAMES = frozenset({"background", "_background_", "__background__"})
IGNORED_NAMES = frozenset({"__ignore__", "ignore", "void"})


@dataclass(frozen=True)
class Naming:
    """The classes, and the label of every name in the annotations."""

    classes: tuple[str, ...]
    labels: Mapping[str, int]
    uncovered: int
    """The label of pixels that no region covers."""


def read_renaming(path: Path) -> dict[str, str | None]:
    """From names in annotations to names of classes, or null for what is to be ignored, from a YAML
    file. Raises `UserError`."""
    values = named(read_yaml(path), str(path))
    for name, other in values.items():
        if not isinstance(name, str) or not (other is None or isinstance(other, str)):
            raise UserError(f"{path}: from names to names, e.g. `automobile: car`; got {name!r}")
    return {composed(name): other and composed(other) for name, other in values.items()}


def name_classes(
    found: Found,
    classes: Sequence[str],
    renamed: Mapping[str, str | None],
    background: Background | None,
) -> Naming:
    """Labels of the names that were found: those of `classes`, or without any, all in their order.

    Pixels of the background, which no region covers or regions called so do, are ignored, or as a
    `class` have the label 0. Raises `UserError` for a name that is none of the classes.
    """
    used = Counter(one.label for picture in found.pictures for one in picture.annotations)
    names = list(dict.fromkeys([*found.names, *used]))
    meant = {name: renamed.get(composed(name), composed(name).strip()) for name in names}
    kept = [*map(composed, classes)] or list(
        dict.fromkeys(name for name in meant.values() if name is not None and not _is_special(name))
    )
    kept = [name for name in kept if not _is_special(name)]
    if not kept:
        raise UserError(f"{found.source} names no class")
    if background == "class":
        kept.insert(0, BACKGROUND)
    listed = ClassSet(tuple(kept))
    check_count(listed)
    uncovered = 0 if background == "class" else IGNORE
    special = {name: uncovered for name in BACKGROUND_NAMES} | dict.fromkeys(IGNORED_NAMES, IGNORE)
    known = special | {name: label for label, name in enumerate(kept)}
    labels = dict(special)
    for name, other in meant.items():
        if other is None:
            labels[name] = IGNORE
        elif other in known or other.casefold() in special:
            labels[name] = known.get(other, special.get(other.casefold(), IGNORE))
        elif used[name] or (found.pictures and found.pictures[0].image is not None):
            raise UserError(
                f"{found.source} names '{other}' ({used[name]} regions), which is none of the "
                f"classes {some_of(kept)}{did_you_mean(other, kept)}; --rename FILE maps names"
            )
    return Naming(listed.names, labels, uncovered)


def _is_special(name: str) -> bool:
    return name.casefold() in BACKGROUND_NAMES | IGNORED_NAMES
