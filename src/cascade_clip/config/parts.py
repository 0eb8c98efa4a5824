"""The recipes of the package, METHOD/DATA/SETTING, put together from their parts.

A part is a file in `recipes/methods`, `recipes/data` or `recipes/settings`, and a delta over the
parts before it. Besides settings it may hold

- `base`: another part of its kind, over which it is a delta;
- `when: {OTHER: delta}`: what holds beside another part, on top of its own settings;
  `OTHER/ANOTHER` stands for both. A part is also what it is based on;
- `only: {KIND: [OTHER, ...]}`: the parts beside which it makes sense, where not all do;
- `summary`: what it is, for `cascade-clip recipes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

from cascade_clip.config.heads import DEFAULT_KIND, head_kinds
from cascade_clip.errors import UserError
from cascade_clip.support.messages import nearest
from cascade_clip.support.plain_values import named, read_yaml

RECIPE_FOLDER = Path(str(files("cascade_clip"))) / "recipes"
KINDS = {"methods": "method", "data": "data", "settings": "setting"}
"""Folders of the parts, in the order in which they are named, and what messages call them."""
DEFAULT_METHOD, DEFAULT_SETTING = "cascade-clip", "inductive"


@dataclass(frozen=True)
class Part:
    """A part with all that it stands on."""

    name: str
    summary: str
    only: Mapping[str, list[str]]
    """By kind, the parts it can be named with; any where a kind is missing."""
    deltas: tuple[Mapping[str, Any], ...]
    """Its settings, after those of the parts it stands on; each may hold `when`."""
    counts_as: frozenset[str]
    """The names of it and of what it stands on."""


def part_names(kind: str) -> list[str]:
    """Names of the parts of a kind (`methods`, `data` or `settings`), sorted."""
    return sorted(path.stem for path in (RECIPE_FOLDER / kind).glob("*.yaml"))


def read_part(kind: str, name: str) -> Part:
    """The part of this name, which there must be."""
    path = RECIPE_FOLDER / kind / f"{name}.yaml"
    values = named(read_yaml(path), str(path))
    base, summary, only = (values.pop(key, None) for key in ("base", "summary", "only"))
    below = None if base is None else read_part(kind, base)
    return Part(
        name=name,
        summary=summary,
        only=only or {},
        deltas=(*(below.deltas if below else ()), values),
        counts_as=frozenset({name}) | (below.counts_as if below else frozenset()),
    )


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package, by data, then method."""
    parts = {kind: [read_part(kind, name) for name in part_names(kind)] for kind in KINDS}
    return [
        "/".join(part.name for part in chosen)
        for data, method in product(parts["data"], parts["methods"])
        for chosen in _with_settings(method, data, parts["settings"])
        if not _clashes(chosen)
    ]


def compose(name: str) -> dict[str, Any]:
    """The settings of a recipe of the package. Without a setting, a method that is trained is
    trained inductively.

    Raises `UserError` for a name that isn't one of `recipe_names()`.
    """
    chosen = _choose(name)
    names = frozenset[str]().union(*(part.counts_as for part in chosen))
    values: dict[str, Any] = {}
    for part in chosen:
        for delta in part.deltas:
            for settings in _active(delta, names):
                values = merge(values, settings)
    method, data, *setting = (part.summary for part in chosen)
    summary = "; ".join([f"{method}, {data}", *setting])
    return {"name": "/".join(part.name for part in chosen), "summary": summary, **values}


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with what `above` gives otherwise, group by group."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = merge(_shared(old, value.get("kind")), value)
        else:
            merged[key] = value
    return merged


def _shared(old: dict[str, Any], kind: Any) -> dict[str, Any]:
    """The settings of a head that one of another kind has, too."""
    settings = head_kinds().get(kind) if isinstance(kind, str) else None
    if settings is None or kind == old.get("kind", DEFAULT_KIND):
        return old
    return {key: value for key, value in old.items() if key in settings.model_fields}


def _active(delta: Mapping[str, Any], names: frozenset[str]) -> Iterator[Mapping[str, Any]]:
    """What a part's file says with the parts called `names`: its own settings, then `when`."""
    yield {key: value for key, value in delta.items() if key != "when"}
    for others, settings in delta.get("when", {}).items():
        if names.issuperset(others.split("/")):
            yield settings


def _with_settings(method: Part, data: Part, settings: list[Part]) -> list[tuple[Part, ...]]:
    if _is_trained(method):
        return [(method, data, setting) for setting in settings]
    return [(method, data)]


def _is_trained(method: Part) -> bool:
    return not any(delta.get("model", {}).get("training_free") for delta in method.deltas)


def _clashes(chosen: tuple[Part, ...]) -> str:
    """Why these parts make no recipe; empty if they do."""
    by_kind = dict(zip(KINDS, chosen, strict=False))
    for part in chosen:
        for kind, allowed in part.only.items():
            other = by_kind.get(kind)
            if other is not None and other.counts_as.isdisjoint(allowed):
                return (
                    f"'{part.name}' goes with {', '.join(allowed)} alone, not with '{other.name}'"
                )
    return ""


def _choose(name: str) -> tuple[Part, ...]:
    """The parts that a name names."""
    given = name.split("/")
    if not 2 <= len(given) <= 3 or any(
        part not in part_names(kind) for kind, part in zip(KINDS, given, strict=False)
    ):
        raise UserError(
            f"unknown recipe '{name}'; did you mean '{_meant(given)}'? A recipe is "
            "METHOD/DATA/SETTING; `cascade-clip recipes` lists all; a file needs the ending .yaml"
        )
    chosen = tuple(read_part(kind, part) for kind, part in zip(KINDS, given, strict=False))
    if len(chosen) == 2 and _is_trained(chosen[0]):
        chosen = (*chosen, read_part("settings", DEFAULT_SETTING))
    if len(chosen) == 3 and not _is_trained(chosen[0]):
        short = "/".join(given[:2])
        raise UserError(f"'{given[0]}' is not trained, so that it has no setting; give '{short}'")
    if clash := _clashes(chosen):
        raise UserError(f"there is no recipe '{name}': {clash}")
    return chosen


def recipe_in_words(text: str) -> str | None:
    """The recipe that is named in other words: `voc20-inductive`, `zegclip-voc20`; None if none."""
    return _by_words().get(text.replace("/", "-"))


def _by_words() -> dict[str, str]:
    """Recipes by their parts in several orders, of which the usual ones may be left out."""
    words: dict[str, str] = {}
    for name in recipe_names():
        method, data, *setting = name.split("/")
        orders = [[method, data, *setting]]
        if method == DEFAULT_METHOD:
            orders.append([data, *setting])
        if setting in ([], [DEFAULT_SETTING]):
            orders += [[method, data], [data, method]]
        if [method, *setting] == [DEFAULT_METHOD, DEFAULT_SETTING]:
            orders.append([data])
        for order in orders:
            words["-".join(order)] = name
    return words


def _meant(given: list[str]) -> str:
    """The recipe that is named most nearly."""
    if 2 <= len(given) <= 3:
        parts = zip(KINDS, given, strict=False)
        return "/".join(str(nearest(part, part_names(kind), 0.0)) for kind, part in parts)
    words = _by_words()
    return words[str(nearest("-".join(given), words, 0.0))]
