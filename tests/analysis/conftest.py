"""A network for analyses: random weights, two stages, small scenes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_clip.analysis.subjects import Subject, open_subjects
from cascade_clip.checkpoint.folder import Bundle, load_bundle
from cascade_clip.config import Recipe
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.drawn import PicturebookDataset
from tests.analysis.models import write_model


@pytest.fixture(scope="session")
def recipe(tiny_overrides: list[str]) -> Recipe:
    return load_recipe(
        "cascade-clip/picturebook/inductive", [*tiny_overrides, "inference.seen_score_offset=0.002"]
    )


@pytest.fixture(scope="session")
def model_folder(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of three stages on the tiny CLIP."""
    return write_model(tmp_path_factory.mktemp("model") / "model", recipe)


@pytest.fixture(scope="session")
def bundle(model_folder: Path) -> Bundle:
    return load_bundle(model_folder)


@pytest.fixture(scope="session")
def subjects(bundle: Bundle) -> list[Subject]:
    """The model, and its CLIP without training."""
    return open_subjects(bundle, bundle.recipe.data, "raw-clip")


@pytest.fixture(scope="session")
def scenes(recipe: Recipe) -> PicturebookDataset:
    """Nine scenes of 32 x 32 pixels."""
    return PicturebookDataset(recipe.data.picturebook, "test", 9)
