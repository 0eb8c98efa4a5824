from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cascade_clip.evaluation.metrics import Metrics, SegmentationMetrics, harmonic_mean

CLASSES = ("cat", "dog", "grass", "sky")
UNSEEN = ("dog", "sky")


def measure(predicted: Tensor, labels: Tensor) -> Metrics:
    metrics = SegmentationMetrics(CLASSES, UNSEEN)
    metrics.update(predicted, labels)
    return metrics.compute()


def naive_metrics(predicted: Tensor, labels: Tensor) -> dict[str, float]:
    """Pixel by pixel, class by class."""
    pairs = [
        (p, t)
        for p, t in zip(predicted.flatten().tolist(), labels.flatten().tolist(), strict=True)
        if t != 255
    ]
    iou = {}
    for index, name in enumerate(CLASSES):
        union = sum(index in pair for pair in pairs)
        iou[name] = sum(pair == (index, index) for pair in pairs) / union if union else math.nan

    def mean(names: tuple[str, ...]) -> float:
        known = [iou[name] for name in names if not math.isnan(iou[name])]
        return sum(known) / len(known) if known else math.nan

    return {
        "accuracy": sum(p == t for p, t in pairs) / len(pairs) if pairs else math.nan,
        "miou": mean(CLASSES),
        "seen": mean(("cat", "grass")),
        "unseen": mean(UNSEEN),
    }


def same(value: float, expected: float) -> bool:
    return value == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_perfect() -> None:
    labels = torch.arange(4).repeat(2, 3, 1)
    result = measure(labels, labels)
    assert set(result.iou_per_class.values()) == {1.0}
    assert result.pixel_accuracy == result.miou == result.hiou == 1.0


def test_hand_computed() -> None:
    labels = torch.tensor([[0, 0, 0, 1, 1, 2, 255, 255]])
    predicted = torch.tensor([[0, 0, 1, 1, 2, 2, 3, 0]])
    result = measure(predicted, labels)
    # cat: 2 of 3; dog: 1 of 3; grass: 1 of 2; sky was predicted on an ignored pixel only.
    assert same(result.iou_per_class["cat"], 2 / 3)
    assert same(result.iou_per_class["dog"], 1 / 3)
    assert same(result.iou_per_class["grass"], 1 / 2)
    assert math.isnan(result.iou_per_class["sky"])
    assert same(result.pixel_accuracy, 4 / 6)
    assert same(result.miou, (2 / 3 + 1 / 3 + 1 / 2) / 3)
    assert same(result.miou_seen, 7 / 12)
    assert same(result.miou_unseen, 1 / 3)
    assert same(result.hiou, 2 * (7 / 12) * (1 / 3) / (7 / 12 + 1 / 3))


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    result = measure(torch.tensor([[0, 3]]), torch.tensor([[0, 0]]))
    assert result.iou_per_class["sky"] == 0
    assert result.miou_unseen == 0
    assert result.hiou == 0


def test_nothing_counted_is_undefined() -> None:
    result = measure(torch.zeros(1, 2).long(), torch.full((1, 2), 255))
    assert math.isnan(result.pixel_accuracy)
    assert math.isnan(result.miou)
    assert math.isnan(result.hiou)


def test_no_unseen_class_leaves_hiou_undefined() -> None:
    metrics = SegmentationMetrics(CLASSES, [])
    metrics.update(torch.zeros(2, 2).long(), torch.zeros(2, 2).long())
    result = metrics.compute()
    assert result.miou == result.miou_seen == 1.0
    assert math.isnan(result.miou_unseen)
    assert math.isnan(result.hiou)


label_maps = st.integers(1, 40).flatmap(
    lambda pixels: st.tuples(
        st.lists(st.integers(0, 3), min_size=pixels, max_size=pixels),
        st.lists(st.sampled_from([0, 1, 2, 3, 255]), min_size=pixels, max_size=pixels),
    )
)


@settings(max_examples=50, deadline=None)
@given(label_maps)
def test_equals_counting_pixel_by_pixel(maps: tuple[list[int], list[int]]) -> None:
    predicted, labels = (torch.tensor(values) for values in maps)
    result = measure(predicted, labels)
    expected = naive_metrics(predicted, labels)
    assert same(result.pixel_accuracy, expected["accuracy"])
    assert same(result.miou, expected["miou"])
    assert same(result.miou_seen, expected["seen"])
    assert same(result.miou_unseen, expected["unseen"])
    assert same(result.hiou, harmonic_mean(expected["seen"], expected["unseen"]))


def test_halves_merge_to_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randint(0, 4, (6, 10, 10), generator=generator)
    labels = torch.randint(0, 4, (6, 10, 10), generator=generator).to(torch.uint8)
    first, second = (SegmentationMetrics(CLASSES, UNSEEN) for _ in range(2))
    first.update(predicted[:2], labels[:2])
    second.update(predicted[2:4], labels[2:4])
    second.update(predicted[4:], labels[4:])
    first.merge_state(second)
    assert first.compute() == measure(predicted, labels)


def test_reset_forgets() -> None:
    metrics = SegmentationMetrics(CLASSES, UNSEEN)
    metrics.update(torch.tensor([1]), torch.tensor([0]))
    metrics.reset()
    metrics.update(torch.tensor([0]), torch.tensor([0]))
    assert metrics.compute().pixel_accuracy == 1.0


def test_absent_are_classes_without_a_pixel_in_the_truth() -> None:
    predicted, truth = torch.tensor([0, 1, 2]), torch.tensor([0, 0, 255])
    result = measure(predicted, truth)
    assert result.absent == tuple(name for name in CLASSES if name != "cat")
    assert result.iou_per_class[CLASSES[1]] == 0.0 and math.isnan(result.iou_per_class[CLASSES[2]])


def test_to_dict_is_json() -> None:
    result = measure(torch.tensor([0, 1]), torch.tensor([0, 0]))
    restored = json.loads(json.dumps(result.to_dict()))
    assert restored["pixel_accuracy"] == 0.5
    assert restored["iou_per_class"]["cat"] == 0.5


@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        (torch.zeros(2, 2), torch.zeros(2, 3), "same shape"),
        (torch.tensor([4]), torch.tensor([0]), "predicted labels hold \\[4\\]"),
        (torch.tensor([0]), torch.tensor([254]), "ground truth hold \\[254\\]"),
    ],
)
def test_wrong_labels_are_refused(predicted: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegmentationMetrics(CLASSES, UNSEEN).update(predicted, labels)


def test_wrong_names_are_refused() -> None:
    with pytest.raises(ValueError, match="no class: cow"):
        SegmentationMetrics(CLASSES, ["cow"])
    with pytest.raises(ValueError, match="differ"):
        SegmentationMetrics(["cat", "cat"], [])
