"""Reads the settings text that mmcv stores in a checkpoint, without running it."""

from __future__ import annotations

import ast
from typing import Any

from cascade_clip.errors import UserError

_CONSTRUCTORS = {"range": range, "list": list, "tuple": tuple}


def read_released_config(text: str) -> dict[str, Any]:
    """Top-level assignments of `text` as plain values; a `range` comes as a list.

    Understood are `name = value` with literals, `dict(key=value, ...)`, and `range`, `list` and
    `tuple` of literals. Anything else (imports, other calls, names, arithmetic) is refused: a
    checkpoint's text is data of unknown origin.

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
        case ast.Dict() if None not in node.keys:
            return {_value(k): _value(v) for k, v in zip(node.keys, node.values, strict=True) if k}
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Call(func=ast.Name(id="dict"), args=[]):
            if any(keyword.arg is None for keyword in node.keywords):
                raise _refusal(node)
            return {keyword.arg: _value(keyword.value) for keyword in node.keywords}
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _CONSTRUCTORS:
            return _construct(node, name)
    raise _refusal(node)


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
