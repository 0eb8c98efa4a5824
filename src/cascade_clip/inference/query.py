"""What is asked of a picture: class names with their embeddings, offsets and thresholds."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from cascade_clip.class_names import (
    TypedClasses,
    find_repeated,
    parse_classes,
    trained_names,
)
from cascade_clip.clip.templates import TEMPLATES
from cascade_clip.clip.text import NameEncoder
from cascade_clip.config import InferenceSettings
from cascade_clip.errors import UserError
from cascade_clip.support.messages import did_you_mean, nearest

BACKGROUND_LABEL = -1
BACKGROUND_NAME = "background"
PUBLISHED_BACKGROUND = (
    "sky", "wall", "tree", "wood", "grass", "road", "sea", "river", "mountain", "sands", "desk",
    "bed", "building", "cloud", "lamp", "door", "window", "wardrobe", "ceiling", "shelf", "curtain",
    "stair", "floor", "hill", "rail", "fence",
)  # fmt: skip
"""What SCLIP, NACLIP, ResCLIP and SC-CLIP call the background of PASCAL VOC."""
_MISTAKEN = {"threshold": "background"}
"""What options are called elsewhere: on the command line, and in REST."""


class QueryOptions(TypedDict, total=False):
    """How scores become labels, and names texts."""

    background: bool | float
    """False, the default: every pixel has a class. True leaves pixels without one whose best score
    is under the recipe's `inference.threshold`; a number sets another one, 0..1. With
    `background_names`, True stands for these alone."""
    background_names: bool | Sequence[str] | None
    """Pixels that look most like one of these names have no class. True: 26 usual ones,
    `PUBLISHED_BACKGROUND`, without those of classes. None, the default: these for training-free
    methods, if `background` is True or a single class would fill the picture."""
    thresholds: Mapping[str, float] | None
    """Such thresholds for single classes, by name."""
    class_offsets: Mapping[str, float] | None
    """Added to the scores of single classes before the arg-max, by name, -1..1: positive values
    widen a class, negative ones narrow it."""
    templates: str | Sequence[str] | None
    """"single", "many", or texts with `{}` in the place of the name. None: as in training."""


@dataclass(frozen=True)
class Query:
    """C classes with K >= C names, and before them b >= 0 names of the background, which win ties
    as in the released code of training-free methods."""

    typed: TypedClasses
    seen: tuple[bool, ...]
    """(K) whether the model was trained on the name."""
    embeddings: Tensor
    """(b + K, d), or (b + K, prompts, d) of several prompts a name."""
    offsets: Tensor
    """(b + K,), added to the names' scores before the arg-max."""
    class_of_name: Tensor
    """(b + K,), -1 for names of the background."""
    thresholds: Tensor | None
    """(C,) below which the best class's score makes a pixel background; None: never."""

    @property
    def behind(self) -> int:
        """How many names of the background there are (b)."""
        return len(self.class_of_name) - len(self.seen)

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
    inference: InferenceSettings,
    device: torch.device,
    background: bool | float = False,
    background_names: bool | Sequence[str] | None = None,
    thresholds: Mapping[str, float] | None = None,
    class_offsets: Mapping[str, float] | None = None,
    templates: str | Sequence[str] | None = None,
) -> Query:
    """Encodes the names and checks every number; see `QueryOptions` for the last five.

    The seen-score offset is subtracted from the names that are among the `trained` ones.

    Raises `UserError` for unusable names, templates, thresholds or offsets.
    """
    wanted = read_templates(trained_templates if templates is None else templates)
    if background_names is None:
        background_names = inference.scores == "softmax" and (
            background is True or len(typed.groups) == 1
        )
    if background_names and background is True:
        background = False
    added = torch.zeros(len(typed.groups))
    for index, value in _by_class(typed, class_offsets, "class_offsets", -1.0).items():
        added[index] = value
    seen = trained_names(typed.names, trained)
    lowered = inference.seen_score_offset * torch.tensor(seen, dtype=torch.float32)
    return encode_query(
        lambda names: encode(names, wanted),
        typed,
        read_background_names(typed, background_names),
        seen=seen,
        offsets=added[torch.tensor(typed.class_of_name)] - lowered,
        thresholds=read_thresholds(typed, background, thresholds, usual=inference.threshold),
        device=device,
    )


def encode_query(
    encode: Callable[[Sequence[str]], Tensor],
    typed: TypedClasses,
    background_names: Sequence[str] = (),
    *,
    seen: Sequence[bool] | None = None,
    offsets: Tensor | None = None,
    thresholds: Sequence[float] | None = None,
    device: torch.device,
) -> Query:
    """A query of C classes with K names: by default none seen, no offsets (K,), no thresholds (C,)
    of classes. Raises `UserError` for unusable names."""
    count = len(typed.names)
    if offsets is None:
        offsets = torch.zeros(count)
    behind = len(background_names)
    class_of_name = [*[BACKGROUND_LABEL] * behind, *typed.class_of_name]
    return Query(
        typed=typed,
        seen=tuple(seen if seen is not None else [False] * count),
        embeddings=encode([*background_names, *typed.names]).to(device),  # (b + K, [prompts,] d)
        offsets=torch.cat([torch.zeros(behind), offsets]).to(device),
        class_of_name=torch.tensor(class_of_name, device=device),
        thresholds=None if thresholds is None else torch.tensor(thresholds, device=device),
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
    usual: float = 0.5,
) -> tuple[float, ...] | None:
    """For each class the score below which its pixels are background; None: never. `usual` is what
    True means for `background`.

    Raises `UserError` for numbers outside 0..1, values of another kind, unknown classes, and for a
    class that is called "background" where pixels without a class are called so.
    """
    overall = _read_background(background, usual)
    by_class = _by_class(typed, thresholds, "thresholds", 0.0)
    if overall is None and not by_class:
        return None
    _check_no_background_class(typed)
    values = [overall or 0.0] * len(typed.groups)
    for index, value in by_class.items():
        values[index] = value
    return tuple(values)


def read_background_names(typed: TypedClasses, names: bool | Sequence[str]) -> tuple[str, ...]:
    """Names that stand for no class: none for False, `PUBLISHED_BACKGROUND` for True.

    Raises `UserError` for values of another kind, and for a given name that is that of a class.
    """
    if names:
        _check_no_background_class(typed)
    if isinstance(names, bool):
        classes = {name.casefold() for name in typed.names}
        return tuple(n for n in PUBLISHED_BACKGROUND if names and n.casefold() not in classes)
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise UserError(
            "background_names are True, False or a list of names, e.g. ['sky', 'wall']; got "
            f"{reprlib.repr(names)}"
        )
    entries = list(names)
    given = parse_classes(entries).names if entries else ()
    if both := find_repeated((*typed.names, *given)):
        raise UserError(
            f"'{both[1]}' is a class and a name of the background; leave it out of one of them"
        )
    return given


def _check_no_background_class(typed: TypedClasses) -> None:
    if BACKGROUND_NAME in (name.casefold() for name in typed.names):
        raise UserError(
            f"pixels without a class are called {BACKGROUND_NAME}, so no class can be called so, "
            "too; rename the class, or leave background and thresholds out"
        )


def check_options(options: Mapping[str, object]) -> None:
    """Raises `UserError` for an option of another name than `QueryOptions` has."""
    for name in options:
        if name not in QueryOptions.__annotations__:
            meant = _MISTAKEN.get(name) or nearest(name, QueryOptions.__annotations__)
            known = ", ".join(QueryOptions.__annotations__)
            hint = "" if meant is None else f"; did you mean '{meant}'?"
            raise UserError(f"no option '{name}'; there are {known}{hint}")


def _read_background(background: object, usual: float) -> float | None:
    if isinstance(background, (bool, np.bool_)):
        return usual if background else None
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
