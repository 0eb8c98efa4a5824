"""What is asked of a picture: class names with their embeddings, offsets and thresholds."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from cascade_clip.class_names import TypedClasses, trained_names
from cascade_clip.clip.text import TEMPLATES, NameEncoder
from cascade_clip.errors import UserError
from cascade_clip.support.messages import did_you_mean, nearest

BACKGROUND_LABEL = -1
BACKGROUND_NAME = "background"
BACKGROUND_THRESHOLD = 0.5
_MISTAKEN = {"threshold": "background"}
"""What options are called elsewhere: on the command line, and in REST."""


class QueryOptions(TypedDict, total=False):
    """How scores become labels, and names texts."""

    background: bool | float
    """True leaves pixels whose best score is under 0.5 without a class; a number sets another
    threshold, 0..1. False, the default: every pixel has a class."""
    thresholds: Mapping[str, float] | None
    """Such thresholds for single classes, by name."""
    class_offsets: Mapping[str, float] | None
    """Added to the scores of single classes before the arg-max, by name, -1..1: positive values
    widen a class, negative ones narrow it."""
    templates: str | Sequence[str] | None
    """"single", "many", or texts with `{}` in the place of the name. None: as in training."""


@dataclass(frozen=True)
class Query:
    """C classes with K >= C names."""

    typed: TypedClasses
    seen: tuple[bool, ...]
    """(K) whether the model was trained on the name."""
    embeddings: Tensor
    """(K, d)"""
    offsets: Tensor
    """(K,), added to the names' scores before the arg-max."""
    class_of_name: Tensor
    """(K,)"""
    thresholds: Tensor | None
    """(C,) below which the best class's score makes a pixel background; None: never."""

    @property
    def seen_by_class(self) -> list[tuple[str, ...]]:
        """For each class those of its names that the model was trained on."""
        flags = dict(zip(self.typed.names, self.seen, strict=True))
        return [tuple(name for name in group if flags[name]) for group in self.typed.groups]


def build_query(
    encode: NameEncoder,
    typed: TypedClasses,
    *,
    trained: Sequence[str],
    trained_templates: Sequence[str],
    seen_score_offset: float,
    device: torch.device,
    background: bool | float = False,
    thresholds: Mapping[str, float] | None = None,
    class_offsets: Mapping[str, float] | None = None,
    templates: str | Sequence[str] | None = None,
) -> Query:
    """Encodes the names and checks every number; see `QueryOptions` for the last four.

    `seen_score_offset` is subtracted from the names that are among the `trained` ones.

    Raises `UserError` for unusable names, templates, thresholds or offsets.
    """
    wanted = read_templates(trained_templates if templates is None else templates)
    embeddings = encode(typed.names, wanted)  # (K, d)
    seen = trained_names(typed.names, trained)
    class_of_name = torch.tensor(typed.class_of_name)
    added = torch.zeros(len(typed.groups))
    for index, value in _by_class(typed, class_offsets, "class_offsets", -1.0).items():
        added[index] = value
    offsets = added[class_of_name] - seen_score_offset * torch.tensor(seen, dtype=torch.float32)
    limits = read_thresholds(typed, background, thresholds)
    return Query(
        typed=typed,
        seen=tuple(seen),
        embeddings=embeddings.to(device),
        offsets=offsets.to(device),
        class_of_name=class_of_name.to(device),
        thresholds=None if limits is None else torch.tensor(limits, device=device),
    )


def read_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """Prompt templates from "single", "many", one text or several.

    Raises `UserError` for a text without the place of the class name.
    """
    if isinstance(templates, str):
        templates = TEMPLATES.get(templates, (templates,))
    if not isinstance(templates, Iterable):
        raise UserError(
            f"templates are {' or '.join(TEMPLATES)}, or texts such as 'a photo of a {{}}'; got "
            f"{reprlib.repr(templates)}"
        )
    templates = tuple(templates)
    if not templates:
        raise UserError("no templates given; give at least one, e.g. 'a photo of a {}'")
    for template in templates:
        if not isinstance(template, str):
            raise UserError(
                f"templates are texts, e.g. 'a photo of a {{}}'; got {reprlib.repr(template)}"
            )
        if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
            raise UserError(
                f"template '{template}' must hold {{}} once, where the class name goes; or use "
                f"{' or '.join(TEMPLATES)}{did_you_mean(template, TEMPLATES)}"
            )
    return templates


def read_thresholds(
    typed: TypedClasses,
    background: bool | float = False,
    thresholds: Mapping[str, float] | None = None,
) -> tuple[float, ...] | None:
    """For each class the score below which its pixels are background; None: never.

    Raises `UserError` for numbers outside 0..1, values of another kind, unknown classes, and for a
    class that is called "background" where pixels without a class are called so.
    """
    overall = _read_background(background)
    by_class = _by_class(typed, thresholds, "thresholds", 0.0)
    if overall is None and not by_class:
        return None
    if BACKGROUND_NAME in (name.casefold() for name in typed.names):
        raise UserError(
            f"pixels without a class are called {BACKGROUND_NAME}, so no class can be called so, "
            "too; rename the class, or leave background and thresholds out"
        )
    values = [overall or 0.0] * len(typed.groups)
    for index, value in by_class.items():
        values[index] = value
    return tuple(values)


def check_options(options: Mapping[str, object]) -> None:
    """Raises `UserError` for an option of another name than `QueryOptions` has."""
    for name in options:
        if name not in QueryOptions.__annotations__:
            meant = _MISTAKEN.get(name) or nearest(name, QueryOptions.__annotations__)
            known = ", ".join(QueryOptions.__annotations__)
            hint = "" if meant is None else f"; did you mean '{meant}'?"
            raise UserError(f"no option '{name}'; there are {known}{hint}")


def _read_background(background: object) -> float | None:
    if isinstance(background, (bool, np.bool_)):
        return BACKGROUND_THRESHOLD if background else None
    if isinstance(background, (int, np.integer)) and background == 1:
        raise UserError("background=1 may mean two things: write True, or 1.0 for that threshold")
    return _number(background, "background (True, False or a threshold)", 0.0)


def _by_class(typed: TypedClasses, values: object, what: str, low: float) -> dict[int, float]:
    """Numbers between `low` and 1 by the index of their class."""
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        hint = "; one threshold for all classes: background=0.4" if what == "thresholds" else ""
        raise UserError(
            f"{what} are numbers by name, e.g. {{'cat': 0.4}}; got {reprlib.repr(values)}{hint}"
        )
    return {
        typed.index(name): _number(value, f"{what} of '{name}'", low)
        for name, value in values.items()
    }


def _number(value: object, what: str, low: float) -> float:
    if (
        isinstance(value, (int, float, np.integer, np.floating))
        and not isinstance(value, bool)
        and low <= value <= 1
    ):
        return float(value)
    raise UserError(f"{what} must lie between {low:g} and 1, got {reprlib.repr(value)}")
