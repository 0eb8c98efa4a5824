"""What is asked of a picture: class names with their embeddings, offsets and thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor

from cascade_clip.class_names import TypedClasses, trained_names
from cascade_clip.clip.load import FrozenClip
from cascade_clip.clip.text import TEMPLATES, encode_classes
from cascade_clip.errors import UserError

BACKGROUND_THRESHOLD = 0.5


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
    reduction: Tensor
    """(K,) what is subtracted from a name's score."""
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
    clip: FrozenClip,
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
    embeddings = encode_classes(clip, typed.names, wanted)  # (K, d)
    seen = trained_names(typed.names, trained)
    class_of_name = torch.tensor(typed.class_of_name)
    added = torch.zeros(len(typed.groups))
    for name, value in (class_offsets or {}).items():
        added[typed.index(name)] = _number(value, f"the offset of '{name}'", -1.0, 1.0)
    reduction = seen_score_offset * torch.tensor(seen, dtype=torch.float32) - added[class_of_name]
    limits = _thresholds(typed, background, thresholds or {})
    return Query(
        typed=typed,
        seen=tuple(seen),
        embeddings=embeddings.to(device),
        reduction=reduction.to(device),
        class_of_name=class_of_name.to(device),
        thresholds=None if limits is None else limits.to(device),
    )


def read_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
    """Prompt templates from "single", "many", one text or several.

    Raises `UserError` for a text without the place of the class name.
    """
    if isinstance(templates, str):
        templates = TEMPLATES.get(templates, (templates,))
    if not templates:
        raise UserError("no templates given; give at least one, e.g. 'a photo of a {}'")
    for template in templates:
        if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
            raise UserError(
                f"template '{template}' must hold {{}} once, where the class name goes; or use "
                f"{' or '.join(TEMPLATES)}"
            )
    return tuple(templates)


def _thresholds(
    typed: TypedClasses, background: bool | float, thresholds: Mapping[str, float]
) -> Tensor | None:
    if background is False and not thresholds:
        return None
    overall = BACKGROUND_THRESHOLD if background is True else float(background)
    values = torch.full((len(typed.groups),), _number(overall, "the threshold", 0.0, 1.0))
    for name, value in thresholds.items():
        values[typed.index(name)] = _number(value, f"the threshold of '{name}'", 0.0, 1.0)
    return values  # (C,)


def _number(value: float, what: str, low: float, high: float) -> float:
    if not low <= value <= high:
        raise UserError(f"{what} lies between {low:g} and {high:g}, got {value}")
    return float(value)
