"""The recipes of the package, METHOD/DATA/SETTING, put together from their components.

A component is a file in `recipes/methods`, `recipes/data` or `recipes/settings`, a delta over the
components before it. Besides settings it may hold

- `base`: another component of its kind, over which it is a delta;
- `when: {OTHER: delta}`: what holds beside another component, on top of its own settings;
  `OTHER/ANOTHER` stands for both. A component is also what it is based on;
- `only: {KIND: [OTHER, ...]}`: the components beside which it makes sense, where not all do;
- `summary`: what it is, for `cascade-clip recipes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from cascade_clip.config.heads import DEFAULT_KIND, head_kinds
from cascade_clip.errors import UserError
from cascade_clip.support.messages import nearest
from cascade_clip.support.plain_values import named, read_yaml

Part = TypeVar("Part")

RECIPE_FOLDER = Path(str(files("cascade_clip"))) / "recipes"
KINDS = ("methods", "data", "settings")
"""Folders of the components, in the order of a name."""
DEFAULT_METHOD, DEFAULT_SETTING = "cascade-clip", "inductive"


@dataclass(frozen=True)
class Component:
    """A component with all that it builds on."""

    name: str
    summary: str
    only: Mapping[str, list[str]]
    """By kind, the components it can be named with; any where a kind is missing."""
    deltas: tuple[Mapping[str, Any], ...]
    """Its settings, after those of the components it builds on; each may hold `when`."""
    counts_as: frozenset[str]
    """The names of it and of what it builds on."""


def component_names(kind: str) -> list[str]:
    """Names of the components of a kind (`methods`, `data` or `settings`), sorted."""
    return sorted(path.stem for path in (RECIPE_FOLDER / kind).glob("*.yaml"))


def read_component(kind: str, name: str) -> Component:
    """The component of this name, which there must be."""
    path = RECIPE_FOLDER / kind / f"{name}.yaml"
    values = named(read_yaml(path), str(path))
    base, summary, only = (values.pop(key, None) for key in ("base", "summary", "only"))
    below = None if base is None else read_component(kind, base)
    return Component(
        name=name,
        summary=summary,
        only=only or {},
        deltas=(*(below.deltas if below else ()), values),
        counts_as=frozenset({name}) | (below.counts_as if below else frozenset()),
    )


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package, by data, then method."""
    components = {
        kind: [read_component(kind, name) for name in component_names(kind)] for kind in KINDS
    }
    return [
        "/".join(component.name for component in chosen)
        for data, method in product(components["data"], components["methods"])
        for chosen in _with_settings(method, data, components["settings"])
        if not _clashes(chosen)
    ]


def compose(name: str) -> dict[str, Any]:
    """The settings of a recipe of the package. Without a setting, a method that is trained is
    trained inductively.

    Raises `UserError` for a name that isn't one of `recipe_names()`.
    """
    chosen = _choose(name)
    names = frozenset[str]().union(*(component.counts_as for component in chosen))
    values: dict[str, Any] = {}
    for component in chosen:
        for delta in component.deltas:
            for settings in _active(delta, names):
                values = merge(values, settings)
    method, data, *setting = (component.summary for component in chosen)
    summary = "; ".join([f"{method}, {data}", *setting])
    return {"name": "/".join(component.name for component in chosen), "summary": summary, **values}


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
    """A component's own settings, then those of `when` that hold with the components `names`."""
    yield {key: value for key, value in delta.items() if key != "when"}
    for others, settings in delta.get("when", {}).items():
        if names.issuperset(others.split("/")):
            yield settings


def _by_kind(parts: Sequence[Part]) -> dict[str, Part]:
    """What a recipe is made of, by its kind; METHOD/DATA has no setting."""
    return dict(zip(KINDS[: len(parts)], parts, strict=True))


def _with_settings(
    method: Component, data: Component, settings: list[Component]
) -> list[tuple[Component, ...]]:
    if _is_trained(method):
        return [(method, data, setting) for setting in settings]
    return [(method, data)]


def _is_trained(method: Component) -> bool:
    return not any(delta.get("model", {}).get("training_free") for delta in method.deltas)


def _clashes(chosen: tuple[Component, ...]) -> str:
    """Why these components make no recipe; empty if they do."""
    by_kind = _by_kind(chosen)
    for component in chosen:
        for kind, allowed in component.only.items():
            other = by_kind.get(kind)
            if other is not None and other.counts_as.isdisjoint(allowed):
                names = ", ".join(allowed)
                return f"'{component.name}' goes with {names} alone, not with '{other.name}'"
    return ""


def _choose(name: str) -> tuple[Component, ...]:
    """The components that a name names."""
    given = name.split("/")
    if not 2 <= len(given) <= 3 or any(
        component not in component_names(kind) for kind, component in _by_kind(given).items()
    ):
        raise UserError(
            f"unknown recipe '{name}'; did you mean '{_meant(given)}'? A recipe is "
            "METHOD/DATA/SETTING; `cascade-clip recipes` lists all; a file needs the ending .yaml"
        )
    chosen = tuple(read_component(kind, component) for kind, component in _by_kind(given).items())
    if len(chosen) == 2 and _is_trained(chosen[0]):
        chosen = (*chosen, read_component("settings", DEFAULT_SETTING))
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
    """Recipes by their components in several orders, of which the usual ones may be left out."""
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
        meant = "/".join(
            str(nearest(component, component_names(kind), 0.0))
            for kind, component in _by_kind(given).items()
        )
        known = recipe_names()
        if meant in known or f"{meant}/{DEFAULT_SETTING}" in known:
            return meant
        return str(nearest("/".join(given), known, 0.0))
    words = _by_words()
    return words[str(nearest("-".join(given), words, 0.0))]
