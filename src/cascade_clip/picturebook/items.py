"""What a scene contains."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
