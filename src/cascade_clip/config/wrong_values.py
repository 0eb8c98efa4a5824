"""pydantic's errors in this program's words: what came, what is allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from reprlib import Repr
from typing import Any

from pydantic import ValidationError

from cascade_clip.config.heads import head_kinds
from cascade_clip.config.training_free import training_free_kinds
from cascade_clip.support.messages import did_you_mean

_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a number, not infinity or NaN",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
    "tuple": "a list, e.g. [1, 2]",
    "list": "a list, e.g. [1, 2]",
    "dict": "names with values (key: value)",
    "model": "names with values (key: value)",
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} entries",
    "too_long": "at most {max_length} entries",
}
"""By the type of an error, or its first word."""


def first_wrong_value(error: ValidationError) -> str:
    """The first of a model's errors, with the dotted name of what is wrong."""
    first = error.errors()[0]
    return wrong_value(first, dotted(first["loc"]))


def dotted(loc: Sequence[int | str]) -> str:
    """Where an error is, as settings are named: without the kind of a head or method, by which
    pydantic tells which member of the union it looked at."""
    kinds = {"head": {*head_kinds()}, "training_free": {*training_free_kinds()}}
    parts = [
        str(part)
        for index, part in enumerate(loc)
        if not (index and part in kinds.get(str(loc[index - 1]), set()))
    ]
    return ".".join(parts)


def wrong_value(error: Mapping[str, Any], name: str) -> str:
    """One entry of `ValidationError.errors()` about the value called `name`, "" for a whole."""
    kind, came = error["type"], error["input"]
    if kind == "missing":
        return f"{name} is missing"
    if kind == "extra_forbidden":
        return f"{name} is unknown here"
    if kind == "union_tag_invalid":
        allowed = str(error["ctx"]["expected_tags"])
        came = str(error["ctx"]["tag"])
        hint = did_you_mean(came, re.findall(r"'([^']*)'", allowed))
        return f"{name}.kind: expected one of {allowed}, got {_shown(came)}{hint}"
    start = f"{name}: " if name else ""
    if kind == "value_error":
        return start + str(error["msg"]).removeprefix("Value error, ")
    expected = _EXPECTED.get(kind, _EXPECTED.get(kind.partition("_")[0]))
    if expected is None:
        return f"{start}{error['msg']}, got {_shown(came)}"
    hint = ""
    if kind == "literal_error":
        hint = did_you_mean(str(came), re.findall(r"'([^']*)'", error["ctx"]["expected"]))
    return f"{start}expected {expected.format_map(error.get('ctx', {}))}, got {_shown(came)}{hint}"


class _Short(Repr):
    """Values as Python writes them, but for long and deep ones."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 200
        self.maxlist = self.maxtuple = self.maxdict = 12

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write numbers of thousands of digits.
        bits = x.bit_length()
        return super().repr_int(x, level) if bits < 10_000 else f"a number of {bits:,} bits"


def _shown(value: Any) -> str:
    return _Short().repr(value)
