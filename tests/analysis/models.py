"""Untrained models, saved as trained ones are."""

from __future__ import annotations

from pathlib import Path

from cascade_clip.checkpoint.save import save_model
from cascade_clip.clip.load import load_clip
from cascade_clip.config import Recipe
from cascade_clip.data.factory import open_dataset
from cascade_clip.data.sampling import seeded
from cascade_clip.model.network import SegmentationNetwork


def write_model(folder: Path, recipe: Recipe) -> Path:
    """A model folder with the weights that training would start from."""
    clip = load_clip(recipe.model.clip)
    with seeded(0):
        network = SegmentationNetwork(clip.visual, recipe.model)
    classes = open_dataset(recipe.data, "test").classes
    return save_model(folder, network, recipe, classes, clip)
