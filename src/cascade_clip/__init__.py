"""Zero-shot semantic segmentation with CLIP: Cascade-CLIP and its relatives."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cascade_clip.checkpoint.folder import load_model
    from cascade_clip.checkpoint.training_free import load_network
    from cascade_clip.config import Recipe
    from cascade_clip.config.recipes import load_recipe
    from cascade_clip.errors import UserError
    from cascade_clip.segmentation import Segmentation
    from cascade_clip.segmenter import Segmenter

__all__ = [
    "Recipe",
    "Segmentation",
    "Segmenter",
    "UserError",
    "load_model",
    "load_network",
    "load_recipe",
]

_HOMES = {
    "Recipe": "config",
    "Segmentation": "segmentation",
    "Segmenter": "segmenter",
    "UserError": "errors",
    "load_model": "checkpoint.folder",
    "load_network": "checkpoint.training_free",
    "load_recipe": "config.recipes",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when first used: `cascade-clip --help` shouldn't wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
