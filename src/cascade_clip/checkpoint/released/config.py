"""The settings that mmcv or mmengine stores in a checkpoint, read without running their text;
values in them."""

from __future__ import annotations

import ast
import reprlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from cascade_clip.config import RGB
from cascade_clip.errors import UserError

Config = Mapping[str, Any]

_CONSTRUCTORS = {"range": range, "list": list, "tuple": tuple}


def config_of(meta: Config) -> Config:
    """The settings in a checkpoint's `meta`: mmcv's `config` or mmengine's `cfg`, a text or a dict.

    Raises `UserError` for a text that can't be read, and for two that differ.
    """
    given = [meta[key] for key in ("config", "cfg") if meta.get(key)]
    found = [v if isinstance(v, Mapping) else read_released_config(str(v)) for v in given]
    if len(found) == 2 and found[0] != found[1]:
        raise UserError("the checkpoint's meta holds two settings that differ: 'config' and 'cfg'")
    return found[0] if found else {}


def read_released_config(text: str) -> dict[str, Any]:
    """Top-level assignments of `text` as plain values; a `range` comes as a list.

    Understood are `name = value` with literals, `dict(key=value, ...)`, `dict({...})` (as mmcv
    writes keys that are no names), and `range`, `list` and `tuple` of literals. Anything else
    (imports, other calls, names, arithmetic) is refused: a checkpoint's text is data of unknown
    origin.

    Raises `UserError` naming the line.
    """
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"the checkpoint's config can't be parsed: {error}") from error
    config: dict[str, Any] = {}
    for statement in module.body:
        if (
            not isinstance(statement, ast.Assign)
            or len(statement.targets) != 1
            or not isinstance(statement.targets[0], ast.Name)
        ):
            raise _refusal(statement)
        config[statement.targets[0].id] = _value(statement.value)
    return config


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.List():
            return [_value(item) for item in node.elts]
        case ast.Tuple():
            return tuple(_value(item) for item in node.elts)
        case ast.Dict():
            return dict(
                (_key(key, node), _value(value))
                for key, value in zip(node.keys, node.values, strict=True)
            )
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Call(func=ast.Name(id="dict"), args=[] | [ast.Dict()]):
            if any(keyword.arg is None for keyword in node.keywords):
                raise _refusal(node)
            mapping = _value(node.args[0]) if node.args else {}
            return mapping | {keyword.arg: _value(keyword.value) for keyword in node.keywords}
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _CONSTRUCTORS:
            return _construct(node, name)
    raise _refusal(node)


def _key(key: ast.expr | None, node: ast.Dict) -> Any:
    """A key of a literal dict; None stands for `**`."""
    if not isinstance(key, ast.Constant):
        raise _refusal(node)
    return key.value


def _construct(node: ast.Call, name: str) -> Any:
    arguments = [_value(argument) for argument in node.args]
    try:
        made = _CONSTRUCTORS[name](*arguments)
    except (TypeError, ValueError) as error:
        raise _refusal(node) from error
    if isinstance(made, range):
        if len(made) > 1_000_000:
            raise _refusal(node)
        return list(made)
    return made


def _refusal(node: ast.AST) -> UserError:
    line = getattr(node, "lineno", "?")
    return UserError(
        f"the checkpoint's config, line {line}: '{ast.unparse(node)[:80]}' is not a plain setting; "
        "allowed are literals, dict(...), range(...), list(...) and tuple(...)"
    )


def section(config: Config, *path: str) -> Config:
    """The dict at a path of keys; what is missing or None is empty."""
    for key in path:
        value = config.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise _unlike(key, value, "a dict")
        config = value
    return config


def text_file(config: Config) -> str:
    """Name of the file of text embeddings, without its suffix."""
    return PurePosixPath(str(section(config, "model").get("load_text_embedding", ""))).stem


def index_list(value: Any, what: str) -> tuple[int, ...]:
    """A list of integers."""
    if not isinstance(value, list | tuple) or not all(isinstance(item, int) for item in value):
        raise _unlike(what, value, "numbers")
    return tuple(value)


def square_side(value: Any, what: str) -> int:
    """The side of a square, given as one number or as a pair."""
    sides = list(value) if isinstance(value, list | tuple) else [value]
    whole = bool(sides) and all(isinstance(side, int) and side > 0 for side in sides)
    if not whole or len(set(sides)) != 1:
        raise _unlike(what, value, "a square")
    return int(sides[0])


def rgb_values(value: Any, what: str) -> RGB:
    """Three values on the scale 0..255, as values in [0, 1]."""
    numbers = isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value)
    if not numbers or len(value) != 3:
        raise _unlike(what, value, "three numbers")
    if what == "std" and min(value) <= 0:
        raise _unlike(what, value, "values above 0")
    red, green, blue = (channel / 255 for channel in value)
    return red, green, blue


def _unlike(what: str, value: Any, expected: str) -> UserError:
    found = reprlib.repr(value)
    return UserError(f"the checkpoint's config holds '{what}' = {found}; expected {expected}")
