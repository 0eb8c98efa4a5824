"""From samples to crops, and normalising: worked out by hand, and held against a naive twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cascade_clip.config import IMAGENET, AugmentSettings, DataSettings, InferenceSettings, Recipe
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.drawn import PicturebookDataset
from cascade_clip.data.labels import IGNORE
from cascade_clip.data.samples import Sample
from cascade_clip.data.sampling import seeded
from cascade_clip.data.transforms import TrainTransform, prepare
from cascade_clip.ops.images import normalise
from tests.naive import augment as naive

CLASSES = ClassSet(("cat", "dog", "grass", "sky"), ("dog",))


def transform(crop: int, short_side: int, **augment: Any) -> TrainTransform:
    inference = InferenceSettings(crop=crop, stride=crop, short_side=short_side)
    # Read as settings are, so that the picture book has no augmentation but what is asked for.
    data = DataSettings.model_validate({"augment": augment})
    return TrainTransform(Recipe(name="x", data=data, inference=inference), CLASSES, IMAGENET.mean)


def numbered(height: int, width: int) -> Sample:
    """Labels that progress the place of each pixel; the red channel holds the same number."""
    labels = torch.arange(height * width).reshape(height, width)
    image = torch.stack([labels, labels * 0 + 7, labels * 0]).to(torch.uint8)
    return Sample(image, labels, "x")


def random_sample(rng: np.random.Generator, height: int, width: int) -> Sample:
    coarse = rng.choice([0, 1, 2, 3, 255], (height // 8 + 1, width // 8 + 1))
    labels = np.kron(coarse, np.ones((8, 8), int))[:height, :width]
    image = rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    return Sample(torch.from_numpy(image), torch.from_numpy(labels.copy()), "x")


def test_crop_takes_picture_and_labels_from_one_place() -> None:
    torch.manual_seed(0)
    crops = transform(crop=4, short_side=8, flip=0.5)
    places = set()
    for _ in range(20):
        out = crops(numbered(8, 12))
        assert out.image.shape == (3, 4, 4)
        assert torch.equal(out.image[0], out.labels)
        places.add((int(out.labels.min()), bool(out.labels[0, 0] > out.labels[0, 1])))
    assert len({start for start, _ in places}) > 5
    assert {flipped for _, flipped in places} == {True, False}


def test_without_augmentation_samples_of_the_right_size_stay_as_they_are() -> None:
    sizes = ["data.picturebook.size=144", "inference.short_side=144", "inference.crop=144"]
    recipe = load_recipe("cascade-clip/picturebook/inductive", sizes)
    scenes = PicturebookDataset(recipe.data.picturebook, "train", 2)
    same = TrainTransform(recipe, scenes.classes, IMAGENET.mean)
    for index in range(2):
        out, expected = same(scenes[index]), scenes[index]
        assert torch.equal(out.image, expected.image)
        assert torch.equal(out.labels.long(), expected.labels)
        assert out.name == expected.name


@pytest.mark.parametrize("flip", [0.0, 0.999])
def test_padding_is_the_mean_and_ignored_at_the_right_and_bottom(flip: float) -> None:
    out = transform(crop=6, short_side=4, flip=flip)(numbered(4, 5))
    assert out.image.shape == (3, 6, 6)
    expected = numbered(4, 5).labels
    assert torch.equal(out.labels[:4, :5].long(), expected.flip(1) if flip else expected)
    assert (out.labels[4:] == IGNORE).all()
    assert (out.labels[:, 5:] == IGNORE).all()
    padding = torch.tensor([124, 116, 104], dtype=torch.uint8)  # of 123.675, 116.28, 103.53
    assert (out.image[:, 4:] == padding[:, None, None]).all()
    assert normalise(out.image, IMAGENET.mean, IMAGENET.std)[:, 4:].abs().max() < 0.01


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_whole_way_equals_its_naive_twin(seed: int, channels_last: bool) -> None:
    rng = np.random.default_rng(seed)
    sample = random_sample(rng, *(int(side) for side in rng.integers(20, 130, 2)))
    if channels_last:
        image = sample.image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        sample = Sample(image, sample.labels, "x")
    augmented = transform(
        crop=64, short_side=64, long_side=100, scale=(0.5, 2), crop_rule="visible", flip=0.5
    )
    visible = np.arange(256)
    visible[[1, 254]] = 255
    for draw in range(4):
        with seeded(seed, draw):
            out = augmented(sample)
        with seeded(seed, draw):
            image, labels = naive.train_transform(
                sample.image.permute(1, 2, 0).numpy(),
                sample.labels.numpy(),
                short_side=64,
                long_side=100,
                crop=64,
                scale=(0.5, 2),
                visible=visible,
                fill=(124, 116, 104),
            )
        assert np.array_equal(out.labels.numpy(), labels)
        difference = out.image.permute(1, 2, 0).numpy().astype(int) - image
        assert np.abs(difference).max() <= 1


def test_labels_are_never_mixed() -> None:
    labels = torch.tensor([[0, 3], [3, 0]]).repeat_interleave(3, 0).repeat_interleave(3, 1)
    sample = Sample(torch.zeros(3, 6, 6, dtype=torch.uint8), labels, "x")
    out = transform(crop=16, short_side=16, photometric=True)(sample)
    assert set(out.labels.unique().tolist()) == {0, 3}


def test_pictures_of_any_size_become_crops() -> None:
    everything = transform(32, 32, **AugmentSettings().model_dump())
    torch.manual_seed(0)
    for height, width in ((1, 1), (1, 700), (700, 1), (33, 2), (40, 40)):
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
        labels = torch.full((height, width), IGNORE)
        out = everything(Sample(image, labels, "x"))
        assert out.image.shape == (3, 32, 32)
        assert (out.labels == IGNORE).all()


def test_normalise() -> None:
    image = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 2).expand(3, 1, 2)
    out = normalise(image, IMAGENET.mean, IMAGENET.std)
    expected = [-123.675 / 58.395, (255 - 123.675) / 58.395]
    torch.testing.assert_close(out[0, 0], torch.tensor(expected))


def test_prepare_scales_the_short_side() -> None:
    images = torch.zeros(2, 3, 20, 30, dtype=torch.uint8)
    out = prepare(images, InferenceSettings(short_side=10), IMAGENET)
    assert out.shape == (2, 3, 10, 15)
    assert out.dtype == torch.float32
    short = InferenceSettings(short_side=10, long_side=12)
    assert prepare(images, short, IMAGENET).shape == (2, 3, 8, 12)
