"""Random scale and crop: sizes, the 75% rule, and which labels it may look at."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from cascade_clip.config import NO_AUGMENTATION, AugmentSettings, CropRule, Setting
from cascade_clip.config.recipes import dump_recipe, load_recipe, parse_recipe
from cascade_clip.data.augment import (
    RandomClassCrop,
    RandomScale,
    count_labels,
    holds_several_classes,
    visible_classes,
)
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.labels import IGNORE, UNLABELLED
from cascade_clip.errors import UserError

CLASSES = ClassSet(("cat", "dog", "grass", "sky"), ("dog", "sky"))


def picture(labels: Tensor) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """A mask, and an image that holds the same numbers."""
    labels = labels.to(torch.uint8)
    return tv_tensors.Image(labels.expand(3, *labels.shape)), tv_tensors.Mask(labels)


def places(labels: Tensor, rule: CropRule, setting: Setting, draws: int) -> list[int]:
    """First columns of random 4 x 4 crops of a strip (4, W)."""
    columns = torch.arange(labels.shape[1]).expand(3, *labels.shape).to(torch.uint8)
    crop = RandomClassCrop(4, visible_classes(rule, CLASSES, setting))
    _, mask = picture(labels)
    return [int(crop(tv_tensors.Image(columns), mask)[0][0, 0, 0]) for _ in range(draws)]


def test_scale_is_drawn_evenly_and_keeps_the_ratio() -> None:
    torch.manual_seed(0)
    scale = RandomScale(100, 400, (0.5, 2.0))
    heights = []
    for _ in range(400):
        image, mask = scale(*picture(torch.zeros(30, 40)))
        assert image.shape[1:] == mask.shape
        height, width = mask.shape
        assert abs(width - height * 4 / 3) <= 0.5 + 1e-6
        heights.append(height)
    assert min(heights) >= 50
    assert max(heights) < 200
    quarters = Counter(int(4 * (height - 50) / 150) for height in heights)
    assert all(70 <= quarters[quarter] <= 130 for quarter in range(4))


@pytest.mark.parametrize(
    ("counts", "several"),
    [
        ([74, 26], True),
        ([75, 25], False),
        ([100, 0], False),
        ([0, 0], False),
        ([60, 20, 20], True),
        ([1, 1], True),
    ],
)
def test_the_75_percent_rule(counts: list[int], several: bool) -> None:
    assert holds_several_classes(torch.tensor(counts)) is several


def test_labels_are_counted_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (37, 50), generator=generator).to(torch.uint8)
    regions = noise[:4, :5].repeat_interleave(9, 0).repeat_interleave(10, 1)
    for labels in (noise, noise[3:20, 5:41], regions, torch.full((1, 1), 255, dtype=torch.uint8)):
        assert torch.equal(count_labels(labels), torch.bincount(labels.flatten(), minlength=256))


def test_crops_are_drawn_again_up_to_10_times() -> None:
    # Of the 17 places only column 8 gives halves; 7 and 9 give 75%, all others one class. So 11
    # draws succeed with probability 1 - (16 / 17)^11 = 0.487.
    labels = torch.zeros(4, 20)
    labels[:, 10:] = 2
    torch.manual_seed(0)
    found = places(labels, "visible", "inductive", 800)
    assert 0.43 <= found.count(8) / 800 <= 0.55
    assert len(set(found)) == 17  # the last draw is kept


def test_ignored_pixels_are_not_counted() -> None:
    labels = torch.full((4, 20), IGNORE)
    labels[0, 10], labels[1, 10] = 0, 2
    torch.manual_seed(0)
    found = places(labels, "visible", "inductive", 100)
    assert sum(7 <= column <= 10 for column in found) / 100 > 0.85  # 1 - (13 / 17)^11 = 0.95


def test_without_the_rule_the_first_crop_is_taken() -> None:
    labels = torch.zeros(4, 20)
    labels[:, 10:] = 2
    torch.manual_seed(0)
    assert places(labels, "off", "full", 800).count(8) < 90  # 800 / 17 = 47


def test_a_picture_of_one_class_is_cropped_anywhere() -> None:
    torch.manual_seed(0)
    found = Counter(places(torch.zeros(4, 12), "released", "full", 900))
    assert len(found) == 9
    assert min(found.values()) > 60


@pytest.mark.parametrize(
    ("rule", "setting", "leaks"),
    [
        ("visible", "inductive", False),
        ("visible", "transductive", False),
        ("visible", "full", True),
        ("released", "inductive", True),
        ("released", "transductive", True),
    ],
)
def test_only_the_released_rule_tells_unseen_classes_apart(
    rule: CropRule, setting: Setting, leaks: bool
) -> None:
    labels = torch.ones(4, 30)
    labels[:, 15:], labels[0, ::7] = 3, 0
    merged = torch.where(labels == 3, 1, labels)  # both unseen classes become one
    crops = []
    for drawn in (labels, merged):
        torch.manual_seed(1)
        crops.append(places(drawn, rule, setting, 60))
    assert (crops[0] != crops[1]) is leaks


def test_what_training_may_see() -> None:
    def seen(rule: CropRule, setting: Setting) -> list[int]:
        visible = visible_classes(rule, CLASSES, setting)
        assert visible is not None
        assert visible[IGNORE] == IGNORE
        return visible[[0, 1, 2, 3, UNLABELLED]].tolist()

    assert seen("visible", "inductive") == [0, IGNORE, 2, IGNORE, IGNORE]
    assert seen("visible", "transductive") == [0, UNLABELLED, 2, UNLABELLED, UNLABELLED]
    assert seen("visible", "full") == [0, 1, 2, 3, IGNORE]
    assert seen("released", "inductive") == [0, 1, 2, 3, UNLABELLED]
    assert visible_classes("off", CLASSES, "full") is None


def test_what_is_not_said_follows_the_data() -> None:
    stored = dump_recipe(load_recipe("cascade-clip/picturebook/inductive"))
    assert parse_recipe(stored).data.augment == NO_AUGMENTATION
    del stored["data"]["augment"]  # as in models saved before there was augmentation
    assert parse_recipe(stored).data.augment == NO_AUGMENTATION
    stored["data"]["augment"] = {"flip": 0.5}
    assert parse_recipe(stored).data.augment == NO_AUGMENTATION.model_copy(update={"flip": 0.5})
    folder = load_recipe("cascade-clip/picturebook/inductive", ["data.name=folder", "data.root=."])
    assert folder.data.augment == AugmentSettings()


def test_the_released_augmentation_is_the_default() -> None:
    settings = AugmentSettings()
    assert (settings.scale, settings.long_side, settings.flip) == ((0.5, 2.0), 2048, 0.5)
    assert settings.photometric
    off = load_recipe("cascade-clip/picturebook/inductive", ["data.augment.crop_rule=off"])
    assert off.data.augment.crop_rule == "off"  # which YAML takes for False
    with pytest.raises(UserError, match=r"scale is \(smallest, largest\) factor, got \[2.0, 1.0\]"):
        load_recipe("cascade-clip/picturebook/inductive", ["data.augment.scale=[2, 1]"])
