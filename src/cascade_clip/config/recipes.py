"""Reads recipes: YAML deltas on other recipes, and `key=value` overrides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from cascade_clip.config import Recipe
from cascade_clip.config.components import compose, merge
from cascade_clip.config.wrong_values import dotted, first_wrong_value
from cascade_clip.errors import UserError
from cascade_clip.support.messages import nearest
from cascade_clip.support.plain_values import parse_yaml, read_yaml


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe by name (METHOD/DATA/SETTING, see `components.py`), or from a YAML file, with
    overrides such as `train.steps=100`.

    A recipe file holds the settings that differ from its `base` (another recipe's name, or a path
    relative to the file); without `base` they differ from the defaults in `config`.
    Override values are read as YAML: `model.head.stages=[[12]]`, `data.root=null`. Another
    `model.head.kind` takes over the settings below it that both kinds have.

    Raises `UserError` for an unknown recipe or key (naming the nearest), and for a bad value.
    """
    values = _find(str(name_or_path), Path())
    return parse_recipe(merge(values, read_overrides(overrides)))


def parse_recipe(values: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values, as `dump_recipe` writes them. Raises `UserError`."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(error)) from error


def with_inference(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with other `inference` settings, by name. Raises `UserError` as `load_recipe`."""
    return parse_recipe(merge(dump_recipe(recipe), {"inference": dict(settings)}))


def read_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """`key=value` texts as nested settings, their values not checked. Raises `UserError` for an
    unknown key."""
    values: dict[str, Any] = {}
    for override in overrides:
        _override(values, override)
    return values


def dump_recipe(recipe: Recipe) -> dict[str, Any]:
    """All settings as plain values that YAML and JSON can hold."""
    return recipe.model_dump(mode="json")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= (
            flatten(value, f"{prefix}{key}.")
            if isinstance(value, Mapping)
            else {prefix + key: value}
        )
    return flat


def setting_keys(settings: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings, e.g. `model.head.sigma`, of all kinds of heads."""
    for name, info in settings.model_fields.items():
        groups = get_args(info.annotation) or (info.annotation,)
        if all(isinstance(group, type) and issubclass(group, BaseModel) for group in groups):
            keys = [key for group in groups for key in setting_keys(group, f"{prefix}{name}.")]
            yield from dict.fromkeys(keys)
        else:
            yield prefix + name


def _find(name: str, folder: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """All settings of a recipe as nested dictionaries; `seen` are files that stand on it."""
    if not name.endswith((".yaml", ".yml")):
        return compose(name)
    path = folder / name
    if not path.is_file():
        raise UserError(f"no recipe file {path}; give the name of a recipe or an existing file")
    if any(path.samefile(file) for file in seen):
        raise UserError(f"recipe {path} is based on itself: {' -> '.join(map(str, [*seen, path]))}")
    delta = read_yaml(path)
    if not isinstance(delta, dict):
        raise UserError(f"recipe {path} must hold `key: value` lines, got {type(delta).__name__}")
    base = delta.pop("base", None)
    below = {} if base is None else _find(str(base), path.parent, (*seen, path))
    below.pop("summary", None)
    return merge(below, {"name": path.stem, **delta})


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"'{override}' is no override; write key=value, e.g. train.steps=100")
    if key not in set(setting_keys()):
        raise UserError(_unknown_key(key))
    value = parse_yaml(text, f"the value of {key}")
    *groups, leaf = key.split(".")
    for group in groups:
        values = values.setdefault(group, {})
    values[leaf] = value


def _unknown_key(key: str) -> str:
    known = list(setting_keys())
    leaf = key.rpartition(".")[2]
    by_leaf = {name.rpartition(".")[2]: name for name in known}
    alike = nearest(leaf, by_leaf)
    meant = nearest(key, known, 0.75) or (alike and by_leaf[alike]) or nearest(key, known, 0.0)
    return f"unknown setting '{key}'; did you mean '{meant}'?"


def _explain(error: ValidationError) -> str:
    """The first of pydantic's errors in one line."""
    first = error.errors()[0]
    if first["type"] != "extra_forbidden":
        return first_wrong_value(error)
    key, loc = dotted(first["loc"]), first["loc"]
    if key in setting_keys():
        return f"{key} is no setting of kind '{loc[-2]}'; leave it out, or set another kind"
    return _unknown_key(key)
