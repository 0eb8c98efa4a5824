"""Resizing, cropping, padding, normalising: worked out by hand."""

from __future__ import annotations

import torch

from cascade_clip.config import IMAGENET_MEAN, IMAGENET_STD, DataSettings
from cascade_clip.data.dataset import Sample
from cascade_clip.data.transforms import (
    TrainTransform,
    normalise,
    prepare,
    resize_bilinear,
    short_side_size,
)
from cascade_clip.training.targets import IGNORE


def settings(crop: int, short_side: int) -> DataSettings:
    return DataSettings(crop=crop, stride=crop, short_side=short_side)


def numbered(height: int, width: int) -> Sample:
    """Labels that tell the place of each pixel; the red channel holds the same number."""
    labels = torch.arange(height * width).reshape(height, width)
    image = torch.stack([labels, labels * 0 + 7, labels * 0]).to(torch.uint8)
    return Sample(image, labels, "x")


def test_short_side_keeps_the_ratio_to_the_nearest_pixel() -> None:
    assert short_side_size((375, 500), 512) == [512, 683]
    assert short_side_size((500, 375), 512) == [683, 512]
    assert short_side_size((10, 10), 5) == [5, 5]


def test_resize_is_bilinear_without_antialiasing() -> None:
    # Halving 4 pixels samples midway between pixels 0, 1 and 2, 3: their means, nothing wider.
    row = torch.tensor([0, 100, 200, 40], dtype=torch.uint8).expand(3, 4, 4)
    assert resize_bilinear(row, [2, 2])[0, 0].tolist() == [50, 120]


def test_crop_takes_picture_and_labels_from_one_place() -> None:
    torch.manual_seed(0)
    transform = TrainTransform(settings(crop=4, short_side=8))
    places = set()
    for _ in range(20):
        out = transform(numbered(8, 12))
        assert out.image.shape == (3, 4, 4)
        assert torch.equal(out.image[0].long(), out.labels)
        places.add((int(out.labels.min()), bool(out.labels[0, 0] > out.labels[0, 1])))
    assert len({start for start, _ in places}) > 5
    assert {flipped for _, flipped in places} == {True, False}


def test_no_flip() -> None:
    transform = TrainTransform(settings(crop=4, short_side=4), flip=False)
    for _ in range(5):
        assert torch.equal(transform(numbered(4, 4)).labels, numbered(4, 4).labels)


def test_padding_is_black_and_ignored_at_the_right_and_bottom() -> None:
    out = TrainTransform(settings(crop=6, short_side=4), flip=False)(numbered(4, 5))
    assert out.image.shape == (3, 6, 6)
    assert torch.equal(out.labels[:4, :5], numbered(4, 5).labels)
    assert (out.labels[4:] == IGNORE).all()
    assert (out.labels[:, 5:] == IGNORE).all()
    assert (out.image[:, 4:] == 0).all()


def test_labels_are_never_mixed() -> None:
    labels = torch.tensor([[0, 9], [9, 0]]).repeat_interleave(3, 0).repeat_interleave(3, 1)
    sample = Sample(torch.zeros(3, 6, 6, dtype=torch.uint8), labels, "x")
    out = TrainTransform(settings(crop=16, short_side=16))(sample)
    assert set(out.labels.unique().tolist()) == {0, 9}


def test_normalise() -> None:
    image = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 2).expand(3, 1, 2)
    out = normalise(image, IMAGENET_MEAN, IMAGENET_STD)
    expected = [-123.675 / 58.395, (255 - 123.675) / 58.395]
    torch.testing.assert_close(out[0, 0], torch.tensor(expected))


def test_prepare_scales_the_short_side() -> None:
    out = prepare(torch.zeros(2, 3, 20, 30, dtype=torch.uint8), settings(crop=8, short_side=10))
    assert out.shape == (2, 3, 10, 15)
    assert out.dtype == torch.float32
