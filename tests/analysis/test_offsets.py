"""Offsets from one pass against one run for each, and calibration by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cascade_clip.analysis.stages.calibration import BINS, ReliabilityCount
from cascade_clip.analysis.stages.compute import ALL, measure, seen_mask, stage_views
from cascade_clip.analysis.stages.confusion import largest_confusions, outcomes
from cascade_clip.analysis.stages.offsets import OffsetCurve
from cascade_clip.analysis.stages.pixels import PixelBest, best_pixels
from cascade_clip.analysis.subjects import Subject
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.drawn import PicturebookDataset
from cascade_clip.evaluation.evaluate import evaluate, predict
from cascade_clip.evaluation.metrics import SegmentationMetrics
from cascade_clip.evaluation.stages import StageView

CLASSES = ClassSet(("a", "b", "c", "d", "e"), unseen=("b", "e"))
SEEN = torch.tensor([True, False, True, True, False])
OFFSETS = (-0.25, -0.125, 0.0, 0.125, 0.25, 0.5)
"""Exact in binary, as are the scores below: so ties are ties."""


def random_scores(seed: int, steps: int = 16) -> Tensor:
    """(5, 20, 30) scores in few steps, so that there are many ties."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, steps + 1, (5, 20, 30), generator=generator) / steps


def best_of(scores: Tensor) -> PixelBest:
    seen, unseen = scores.clone(), scores.clone()
    seen[~SEEN], unseen[SEEN] = -torch.inf, -torch.inf
    (s, a), (u, b) = seen.max(dim=0), unseen.max(dim=0)
    return PixelBest(s, a, u, b)


@pytest.mark.parametrize("offset", OFFSETS)
def test_labels_are_those_of_the_whole_arg_max(offset: float) -> None:
    scores = random_scores(0)
    lowered = scores - offset * SEEN[:, None, None]
    best = best_of(scores)
    assert torch.equal(best.labels(offset), lowered.argmax(dim=0))
    own = scores.gather(0, best.labels(offset)[None])[0]
    assert torch.equal(best.confidence(offset), own)


def test_one_pass_gives_what_single_runs_give() -> None:
    curve = OffsetCurve(CLASSES, OFFSETS)
    truths, found = [], []
    for seed in range(3):
        truth = torch.randint(0, 5, (20, 30), generator=torch.Generator().manual_seed(seed + 9))
        truth[0] = 255
        truths.append(truth)
        found.append(random_scores(seed) + 0.25 * torch.nn.functional.one_hot(
            truth.clamp(max=4), 5).permute(2, 0, 1))  # fmt: skip
        curve.update(best_of(found[-1]), truth)
    for point in curve.points():
        metric = SegmentationMetrics(CLASSES.names, CLASSES.unseen)
        for truth, scores in zip(truths, found, strict=True):
            metric.update((scores - point.offset * SEEN[:, None, None]).argmax(dim=0), truth)
        single = metric.compute()
        assert point.pixel_accuracy == pytest.approx(single.pixel_accuracy)
        assert point.miou_seen == pytest.approx(single.miou_seen)
        assert point.miou_unseen == pytest.approx(single.miou_unseen)
        assert point.hiou == pytest.approx(single.hiou)
        by_kind = outcomes(metric.confusion, CLASSES)
        assert point.unseen_taken == pytest.approx(by_kind["unseen"].other_kind)
        assert point.seen_taken == pytest.approx(by_kind["seen"].other_kind)
    assert curve.best().hiou == max(point.hiou for point in curve.points())


def test_without_unseen_classes_there_is_only_s() -> None:
    curve = OffsetCurve(ClassSet(("a", "b")), OFFSETS)
    scores = random_scores(0)[:2]
    none = torch.full((20, 30), -torch.inf), torch.zeros(20, 30, dtype=torch.int64)
    curve.update(PixelBest(*scores.max(dim=0), *none), scores.argmax(dim=0))
    for point in curve.points():
        assert point.miou_seen == 1.0
        assert math.isnan(point.miou_unseen)


def test_versions_of_a_network_in_one_pass(
    subjects: list[Subject], scenes: PicturebookDataset
) -> None:
    model, classes = subjects[0], scenes.classes
    images = torch.stack([scenes[index].image for index in range(3)])
    text = model.text(classes)
    views = {ALL: (0, 1, 2), "first": (0,), "last": (2,)}
    seen = seen_mask(classes, text.device)
    found = list(best_pixels(model, images, text, seen, list(views.values())))
    offset = model.recipe.inference.seen_score_offset
    networks = (model.network, StageView(model.network, 0), StageView(model.network, 2))  # type: ignore[arg-type]
    for view, network in enumerate(networks):
        alone = predict(network, images, text, classes, model.recipe, model.normalisation)
        assert torch.equal(torch.stack([each[view].labels(offset) for each in found]), alone)


def test_measured_as_evaluation_measures(
    subjects: list[Subject], scenes: PicturebookDataset
) -> None:
    model = subjects[0]
    found = measure(model, scenes, scenes.classes, stage_views(model))
    text = model.text(scenes.classes)
    single = evaluate(model.network, scenes, text, model.recipe, model.normalisation)
    assert found.metrics[ALL].iou_per_class == pytest.approx(single.iou_per_class, nan_ok=True)
    assert len(found.metrics) == 7
    own = next(
        p for p in found.curve.points() if p.offset == model.recipe.inference.seen_score_offset
    )
    assert own.hiou == pytest.approx(single.hiou)
    assert own.pixel_accuracy == pytest.approx(single.pixel_accuracy)
    hits = found.counts[:, 0, 0].sum().item()
    assert hits / found.counts[:, 0, 2].sum().item() == pytest.approx(single.pixel_accuracy)
    pixels = found.reliability["all classes"].pixels.sum().item()
    assert pixels == found.counts[:, 0, 2].sum().item()


def test_calibration_by_hand() -> None:
    count = ReliabilityCount(groups=2)
    confidence = torch.tensor([0.9, 0.9, 0.9, 0.9, 0.5, 1.0])
    correct = torch.tensor([True, True, True, False, False, True])
    count.update(confidence, correct, torch.tensor([0, 0, 0, 0, 1, 1]))
    first, second, both = count.of(0), count.of(1), count.of(0, 1)
    assert first.error == pytest.approx(0.15)
    assert first.overconfidence == pytest.approx(0.15)
    assert second.error == pytest.approx(0.25)
    # 0.9 and 1.0 are in different bins: |0.15| of four pixels, 0.5 of one, 0 of one
    assert both.error == pytest.approx((4 * 0.15 + 0.5) / 6)
    assert both.pixels.sum().item() == 6
    assert second.pixels[BINS - 1].item() == 1  # 1.0 belongs to the last bin


def test_perfect_calibration() -> None:
    count = ReliabilityCount(groups=1)
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(200_000, generator=generator)
    correct = torch.rand(200_000, generator=generator) < confidence
    count.update(confidence, correct, torch.zeros(200_000))
    assert count.of(0).error < 0.01


def test_confusion_between_kinds() -> None:
    confusion = torch.zeros(5, 5, dtype=torch.int64)
    confusion[0] = torch.tensor([6, 2, 1, 1, 0])  # a, seen
    confusion[1] = torch.tensor([5, 3, 0, 0, 2])  # b, unseen
    by_kind = outcomes(confusion, CLASSES)
    assert by_kind["seen"] == pytest.approx((0.6, 0.2, 0.2))
    assert by_kind["unseen"] == pytest.approx((0.3, 0.2, 0.5))
    first, second = largest_confusions(confusion, CLASSES, 8)
    assert (first.truth, first.predicted, first.share, first.pixels) == ("b", "a", 0.5, 5)
    assert (second.truth, second.predicted) == ("a", "b")
