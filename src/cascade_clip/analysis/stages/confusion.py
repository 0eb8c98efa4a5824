"""Which classes take the pixels of which others."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from cascade_clip.data.classes import ClassSet


class PixelOutcome(NamedTuple):
    """What became of the pixels of some true classes, as shares that add up to 1."""

    right: float
    own_kind: float
    """Labelled with another class of the same kind: seen for seen, unseen for unseen."""
    other_kind: float
    """Taken by a class of the other kind."""


class Confusion(NamedTuple):
    """Pixels of one class that were labelled with another."""

    truth: str
    predicted: str
    share: float
    """Of the pixels of the true class, 0..1."""
    pixels: int


def outcomes(confusion: Tensor, classes: ClassSet) -> dict[str, PixelOutcome]:
    """What became of seen and of unseen pixels; a kind without pixels is left out.

    `confusion` (C, C) counts pixels by true class (row) and predicted class (column).
    """
    kinds = {"seen": list(classes.seen_indices), "unseen": list(classes.unseen_indices)}
    found = {}
    for kind, members in kinds.items():
        rows = confusion[members].double()  # (k, C)
        total = rows.sum().item()
        if total:
            right = confusion.diagonal()[members].sum().item() / total
            same = rows[:, members].sum().item() / total
            found[kind] = PixelOutcome(right, same - right, 1 - same)
    return found


def largest_confusions(confusion: Tensor, classes: ClassSet, count: int) -> list[Confusion]:
    """The `count` pairs of true and predicted class, one seen and the other not, that cost the most
    pixels; the largest first."""
    names, unseen = classes.names, set(classes.unseen_indices)
    pairs = [
        (true, predicted)
        for true in range(len(names))
        for predicted in range(len(names))
        if (true in unseen) != (predicted in unseen) and confusion[true, predicted] > 0
    ]
    pairs.sort(key=lambda pair: -int(confusion[pair]))
    return [
        Confusion(
            names[true],
            names[predicted],
            (confusion[true, predicted] / confusion[true].sum()).item(),
            int(confusion[true, predicted]),
        )
        for true, predicted in pairs[:count]
    ]
