"""Methods without training on a data set: names, background and thresholds as published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cascade_clip.checkpoint.training_free import bundle_of
from cascade_clip.clip.load import FrozenClip, load_clip_folder
from cascade_clip.config import Recipe
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.samples import Sample
from cascade_clip.evaluation.training_free import data_query, measure_method
from cascade_clip.segmenter import Segmenter

CPU = torch.device("cpu")
PICTURE = np.random.RandomState(1).randint(0, 256, (40, 56, 3), np.uint8)
GROUPS = (("sky", "wall", "bed"), ("person", "person in shirt"), ("dog",), ("bed",))
WITH_BACKGROUND = ClassSet(
    ("background", "person", "dog", "bed"), vocabulary=GROUPS, background=True
)


class OnePicture:
    """A data set of one picture whose labels are given."""

    def __init__(self, classes: ClassSet, labels: Tensor) -> None:
        self.classes = classes
        self.labels = labels

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        image = torch.from_numpy(PICTURE).permute(2, 0, 1)
        return Sample(image=image, labels=self.labels, name="one")


@pytest.fixture
def clip(tiny_clip_folder: Path) -> FrozenClip:
    return load_clip_folder(tiny_clip_folder, "tiny")


def recipe_with(name: str, **inference: Any) -> Recipe:
    recipe = load_recipe(name, ["inference.crop=32", "inference.stride=16"])
    changed = recipe.inference.model_copy(update={"short_side": 48, **inference})
    return recipe.model_copy(update={"inference": changed})


def expected_labels(folder: Path, recipe: Recipe) -> np.ndarray:
    """By the definition: softmax over all names, a class has its best one's score, class 0 where
    that is under the threshold; of equal scores the first wins."""
    segmenter = Segmenter.from_clip(f"local-dir:{folder}", method="naclip")
    segmenter.predictor.settings = recipe.inference
    names = [name for group in GROUPS for name in group]  # one of them twice
    query = segmenter.query([f"{name} {index}" for index, name in enumerate(names)])
    query = replace(query, embeddings=segmenter.clip.text_encoder(names, segmenter.templates))
    scores = segmenter.predictor.scores(PICTURE, query)
    ends = np.cumsum([len(group) for group in GROUPS])[:-1]
    by_class = np.stack([part.max(axis=0) for part in np.split(scores, ends)])
    labels = by_class.argmax(axis=0)
    labels[by_class.max(axis=0) < recipe.inference.threshold] = 0
    return labels


@pytest.mark.parametrize("threshold", [0.0, 0.25])
def test_labels_are_those_of_the_definition(
    clip: FrozenClip, tiny_clip_folder: Path, threshold: float
) -> None:
    recipe = recipe_with("naclip/voc21", threshold=threshold, refine=None)
    truth = torch.from_numpy(expected_labels(tiny_clip_folder, recipe))
    assert len(truth.unique()) > 1
    result = measure_method(clip, recipe, OnePicture(WITH_BACKGROUND, truth), CPU)
    assert result.metrics.pixel_accuracy > 0.999
    assert result.pictures == 1


def test_without_background_every_pixel_has_a_class(clip: FrozenClip) -> None:
    classes = ClassSet(("person", "dog"), vocabulary=(("person", "man"), ("dog",)))
    query = data_query(bundle_of(clip, recipe_with("sc-clip/voc20", threshold=0.4)), classes, CPU)
    assert (query.behind, query.thresholds) == (0, None)
    assert query.class_of_name.tolist() == [0, 0, 1]
    with_background = data_query(
        bundle_of(clip, recipe_with("sc-clip/voc21")), WITH_BACKGROUND, CPU
    )
    assert with_background.class_of_name.tolist() == [-1, -1, -1, 0, 0, 1, 2]
    assert with_background.thresholds is not None
    torch.testing.assert_close(with_background.thresholds, torch.full((3,), 0.15))
