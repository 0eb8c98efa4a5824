"""What scenes contain: the 22 classes in label order, the items of a scene, and these in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THINGS: tuple[str, ...] = (
    "house", "tree", "car", "boat", "fish", "cat", "flower", "sun",
    "star", "mushroom", "umbrella", "balloon", "snowman", "apple", "heart", "key",
)  # fmt: skip
STUFF: tuple[str, ...] = ("grass", "water", "sand", "sky", "brick", "wood")

CLASSES: tuple[str, ...] = THINGS + STUFF
"""All classes; the position of a name is its label in every mask."""

UNSEEN: tuple[str, ...] = ("cat", "boat", "mushroom", "umbrella", "star", "sand", "brick")
"""Classes whose masks are withheld from training."""

_BOTH = (
    "{things} on {stuff}",
    "{things} in front of {stuff}",
    "a picture of {things} with {stuff}",
    "{things}, with {stuff} behind",
    "{stuff} with {things}",
    "here you see {things} and {stuff}",
)
_ONE = ("{all}", "a picture of {all}", "nothing but {all}", "here you see {all}")


@dataclass(frozen=True)
class SceneItem:
    """One visible thing or one region of stuff; ``area`` is its visible share of the picture."""

    name: str
    colour: str | None
    area: float


@dataclass(frozen=True)
class Scene:
    """A picture uint8 (H, W, 3), its class labels uint8 (H, W), and what it says in words."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    caption: str
    items: tuple[SceneItem, ...]


def noun_phrase(name: str, colour: str | None = None) -> str:
    """``"an orange cat"`` for things, ``"grass"`` for stuff."""
    words = name if colour is None else f"{colour} {name}"
    if name in STUFF:
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _listed(phrases: Sequence[str]) -> str:
    if len(phrases) < 2:
        return "".join(phrases)
    return f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def describe(rng: np.random.Generator, items: Sequence[SceneItem]) -> str:
    """One sentence that names every item exactly once, things with their colour or without."""
    coloured = rng.random() < 0.75
    things = [
        noun_phrase(item.name, item.colour if coloured else None)
        for item in items
        if item.name not in STUFF
    ]
    stuff = [item.name for item in items if item.name in STUFF]
    things = [things[i] for i in rng.permutation(len(things))]
    stuff = [stuff[i] for i in rng.permutation(len(stuff))]
    if things and stuff:
        pattern = _BOTH[int(rng.integers(len(_BOTH)))]
        return pattern.format(things=_listed(things), stuff=_listed(stuff))
    return _ONE[int(rng.integers(len(_ONE)))].format(all=_listed(things + stuff))


def item_phrases(items: Sequence[SceneItem]) -> list[str]:
    """Names and colour-name pairs, each once: ``["cat", "orange cat", "grass"]``."""
    found: dict[str, None] = {}
    for item in items:
        found[item.name] = None
        if item.colour is not None:
            found[f"{item.colour} {item.name}"] = None
    return list(found)
