"""Whatever decides results: changed settings make those of a folder void."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from cascade_clip.batch.task import Background
from cascade_clip.checkpoint.options import RunOptions
from cascade_clip.checkpoint.source import ModelSource

LEFT_OUT = "left out"
"""In the place of a setting that isn't there, which null is not."""
MOST_SHOWN = 80
"""Characters of a setting in a message."""


def settings_of(
    model: ModelSource,
    classes: tuple[tuple[str, ...], ...],
    background: Background,
    run: RunOptions,
) -> dict[str, Any]:
    """The settings as JSON holds them."""
    digest = hashlib.sha256()
    if model.clip is not None:
        digest.update(f"{model.method} {model.clip}".encode())
    for file in model.files():
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    names = background.names
    return {
        "cascade-clip": version("cascade-clip"),
        "model": digest.hexdigest(),
        "classes": [list(group) for group in classes],
        "background": background.threshold,
        "background names": list(names) if isinstance(names, tuple) else names,
        "precision": run.precision,
        **{f"inference.{key}": value for key, value in run.inference.items()},
    }


def difference(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """How `stored` settings differ from those `wanted`, to go on after "made with"; None: they are
    equal."""
    for key in dict.fromkeys([*wanted, *stored]):
        before, now = stored.get(key, LEFT_OUT), wanted.get(key, LEFT_OUT)
        if (type(before), before) != (type(now), now):  # True is no threshold of 1.0
            if key == "model":
                return "another model"
            return f"{key} {_shown(before)}, now it is {_shown(now)}"
    return None


def _shown(setting: object) -> str:
    """A setting as one types it."""
    if setting is None:
        return "null"
    if isinstance(setting, list) and all(isinstance(group, list) for group in setting):
        names = ", ".join("|".join(map(str, group)) for group in setting)
        return f"'{textwrap.shorten(names, MOST_SHOWN, placeholder=' ...')}'"
    return str(setting)
