"""Plain values from YAML and JSON, whoever wrote them. Imports nothing heavy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from cascade_clip.errors import UserError


def parse_yaml(text: str, source: str) -> Any:
    """The values in a text; messages call it `source`. Raises `UserError`."""
    try:
        return yaml.safe_load(text)
    except Exception as error:  # PyYAML lets through what its parts raise, as of 2001-99-99
        raise UserError(f"{source} can't be read: not valid YAML ({_reason(error)})") from error


def parse_json(text: str | bytes, source: str) -> Any:
    """The values in a text; messages call it `source`. Raises `UserError`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source} can't be read: not valid JSON ({_reason(error)})") from error


def read_yaml(path: Path) -> Any:
    """The values in a file. Raises `UserError`."""
    return parse_yaml(_read(path), str(path))


def read_json(path: Path) -> Any:
    """The values in a file. Raises `UserError`."""
    return parse_json(_read(path), str(path))


def named(values: Any, source: str) -> dict[str, Any]:
    """Values that have to be names with values. Raises `UserError`."""
    if not isinstance(values, dict):
        raise UserError(
            f"{source} can't be read: expected names with values, got a {type(values).__name__}"
        )
    return values


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read: {error}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if type(error) is ValueError:  # a date that there is not, a number of thousands of digits
        return f"{error}; put text that looks like a date or a number into quotes"
    return " ".join(str(error).split())
