"""Ignored and unlabelled pixels on their way from mask files to the loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from cascade_clip.config import (
    IMAGENET,
    AugmentSettings,
    DataSettings,
    InferenceSettings,
    Recipe,
    Setting,
)
from cascade_clip.data.factory import open_dataset
from cascade_clip.data.labels import IGNORE, UNLABELLED, full_targets
from cascade_clip.data.samples import collate
from cascade_clip.data.stream import TrainStream
from cascade_clip.data.transforms import TrainTransform
from cascade_clip.training.targets import inductive_targets, transductive_targets

SEEN, UNSEEN = torch.tensor([0, 2]), torch.tensor([1, 3])
VALUES = (0, 1, 2, 3, UNLABELLED, IGNORE)
SIDE = 16


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """Pictures whose red channel repeats their mask, smaller than the crop along one side."""
    draws = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for index in range(20):
        mask = draws.choice(np.array(VALUES, np.uint8), (12, 20)).repeat(2, 0).repeat(2, 1)[:12]
        picture = np.stack([mask, np.zeros_like(mask), np.zeros_like(mask)], axis=-1)
        Image.fromarray(picture).save(tmp_path / "images" / f"{index}.png")
        Image.fromarray(mask).save(tmp_path / "masks" / f"{index}.png")
    (tmp_path / "classes.txt").write_text("sea\nboat\nsky\ncat\n")
    (tmp_path / "split.yaml").write_text("unseen: [boat, cat]\n")
    as_it_is = AugmentSettings(scale=(1.0, 1.0), photometric=False)
    return Recipe(
        name="x",
        data=DataSettings(name="folder", root=tmp_path, augment=as_it_is),
        inference=InferenceSettings(crop=SIDE, stride=SIDE, short_side=12),
    )


def batch(recipe: Recipe, setting: Setting) -> tuple[Tensor, Tensor]:
    """Labels of a training batch, and what its pictures say the labels were (padding: ignored)."""
    dataset = open_dataset(recipe.data, "train")
    train = recipe.train.model_copy(update={"setting": setting})
    recipe = recipe.model_copy(update={"train": train})
    transform = TrainTransform(recipe, dataset.classes, IMAGENET.mean)
    stream = TrainStream(dataset, transform, seed=0, endless=False)
    images, labels, _ = collate([stream[position] for position in range(8)])
    red, green = images[:, 0].long(), images[:, 1]
    return labels, red.masked_fill(green > 0, IGNORE)  # padding is grey, pictures have no green


def test_labels_move_with_their_pixels(recipe: Recipe) -> None:
    labels, truth = batch(recipe, "inductive")
    assert labels.shape == (8, SIDE, SIDE)
    assert torch.equal(labels.long(), truth)
    assert set(labels.unique().tolist()) == set(VALUES)
    assert (labels[:, 12:] == IGNORE).all()  # padding


def test_inductive_training_sees_seen_labels_alone(recipe: Recipe) -> None:
    labels, truth = batch(recipe, "inductive")
    targets = inductive_targets(labels, SEEN)
    expected = torch.full_like(truth, IGNORE)
    expected[truth == 0], expected[truth == 2] = 0, 1
    assert torch.equal(targets, expected)


def test_pseudo_labels_go_to_unseen_and_unlabelled_pixels_alone(recipe: Recipe) -> None:
    labels, truth = batch(recipe, "transductive")
    logits = torch.randn(8, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    targets = transductive_targets(labels, logits, SEEN, UNSEEN)
    pseudo = (truth == 1) | (truth == 3) | (truth == UNLABELLED)
    assert torch.isin(targets[pseudo], UNSEEN).all()
    assert torch.equal(targets[~pseudo], truth[~pseudo])  # seen labels and IGNORE stay
    assert (targets[truth == IGNORE] == IGNORE).all()
    # Which of the unseen classes it was makes no difference.
    hidden = torch.where(pseudo, 1, labels.long())
    assert torch.equal(transductive_targets(hidden, logits, SEEN, UNSEEN), targets)


def test_full_supervision_ignores_both(recipe: Recipe) -> None:
    labels, truth = batch(recipe, "full")
    assert torch.equal(full_targets(labels), truth.masked_fill(truth == UNLABELLED, IGNORE))
