"""Versions of a network, weights of its blocks, gains over another."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch

from cascade_clip.analysis.bootstrap import draw_pictures, resampled_means
from cascade_clip.analysis.stages.compute import (
    ALL,
    _gain,
    class_gains,
    gain_over,
    level_weights,
    measure,
    stage_examples,
    stage_views,
)
from cascade_clip.analysis.stages.pixels import StackedViews
from cascade_clip.analysis.subjects import Subject
from cascade_clip.checkpoint.folder import Bundle
from cascade_clip.clip.load import load_clip
from cascade_clip.config import Recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.drawn import PicturebookDataset
from cascade_clip.data.samples import Sample
from cascade_clip.errors import UserError
from cascade_clip.model.aggregation import WeightedSum, neighborhood_gaussian
from cascade_clip.model.network import SegmentationNetwork


def test_views_of_a_cascade(subjects: list[Subject]) -> None:
    assert stage_views(subjects[0]) == {
        ALL: (0, 1, 2),
        "blocks 6-8 alone": (0,),
        "blocks 9-11 alone": (1,),
        "block 12 alone": (2,),
        "without blocks 6-8": (1, 2),
        "without blocks 9-11": (0, 2),
        "without block 12": (0, 1),
    }
    assert stage_views(subjects[1]) == {ALL: (0,)}


def test_views_are_sums_of_stages(subjects: list[Subject]) -> None:
    network = subjects[0].network
    image, text = torch.randn(2, 3, 32, 32), torch.nn.functional.normalize(torch.randn(4, 32))
    with torch.no_grad():
        output = network(image, text)
        stacked = StackedViews(network, [(0, 1, 2), (0, 2), (1,)])(image, text).mask_logits
    first, second, third = stacked.split(4, dim=1)
    torch.testing.assert_close(first, output.mask_logits)
    torch.testing.assert_close(second, output.stage_logits[0] + output.stage_logits[2])
    torch.testing.assert_close(third, output.stage_logits[1])


def test_logits_that_are_not_finite_are_an_error(
    bundle: Bundle, subjects: list[Subject], scenes: PicturebookDataset
) -> None:
    weights = cast(WeightedSum, bundle.network.head.aggregations[0]).weights
    kept = weights.detach().clone()
    with torch.no_grad():
        weights.fill_(torch.nan)
    try:
        with pytest.raises(UserError, match="mask logits are not finite"):
            measure(subjects[0], scenes, scenes.classes, {ALL: (0, 1, 2)})
    finally:
        with torch.no_grad():
            weights.copy_(kept)


def test_tokens_that_are_not_finite_are_an_error(
    subjects: list[Subject], scenes: PicturebookDataset
) -> None:
    image = torch.zeros(1, 3, 32, 32)
    image[0, 0, 0, 0] = torch.nan
    with pytest.raises(UserError, match=r"raw CLIP: the tokens of block 1 hold values"):
        next(subjects[1].tokens(image, scenes.classes))


def test_weights_of_the_blocks(bundle: Bundle) -> None:
    with torch.no_grad():
        cast(WeightedSum, bundle.network.head.aggregations[1]).weights[0] += 0.5
    try:
        first, second = level_weights(bundle.network)
    finally:
        with torch.no_grad():
            cast(WeightedSum, bundle.network.head.aggregations[1]).weights[0] -= 0.5
    start = neighborhood_gaussian((6, 7, 8), 1.0).tolist()
    assert (first.stage, first.blocks) == ("blocks 6-8", (6, 7, 8))
    assert list(first.start) == pytest.approx(start) == list(first.learned)
    assert second.learned[0] == pytest.approx(start[0] + 0.5)
    assert list(second.start) == pytest.approx(start)


@pytest.mark.parametrize(
    ("update", "start"),
    [
        ({"aggregation": "mean"}, [1 / 3] * 3),
        ({"aggregation": "concat"}, None),
        ({"stages": ((12,),)}, None),
    ],
)
def test_other_aggregations(
    recipe: Recipe, update: dict[str, object], start: list[float] | None
) -> None:
    head = recipe.model.head.model_copy(update=update)
    model = recipe.model.model_copy(update={"head": head})
    network = SegmentationNetwork(load_clip(model.clip).visual, model)
    found = level_weights(network)
    assert ([list(stage.start) for stage in found[:1]] or [None])[0] == (
        None if start is None else pytest.approx(start)
    )


def test_gains_over_itself_and_over_others(
    subjects: list[Subject], scenes: PicturebookDataset
) -> None:
    classes = scenes.classes
    ours, theirs = (measure(s, scenes, classes, {ALL: stage_views(s)[ALL]}) for s in subjects)
    same = class_gains(ours, ours)
    assert not bool(same.gains.nan_to_num().any() or same.intervals.nan_to_num().any())
    assert gain_over(ours, ours) == (0, 0, 0)
    gains = class_gains(ours, theirs)
    for name, gain in zip(gains.names, gains.gains.tolist(), strict=True):
        expected = ours.metrics[ALL].iou_per_class[name] - theirs.metrics[ALL].iou_per_class[name]
        assert gain == pytest.approx(expected, nan_ok=True)
    value, low, high = gain_over(ours, theirs)
    assert value == pytest.approx(ours.metrics[ALL].hiou - theirs.metrics[ALL].hiou)
    assert low <= value <= high or (math.isnan(low) and math.isnan(high))


def test_an_interval_that_leaves_out_its_number_is_none() -> None:
    drawn, nothing = torch.linspace(0.0, 0.1, 100), torch.zeros(100)
    assert _gain((0.05, drawn), (0.0, nothing))[1] > 0
    assert all(map(math.isnan, _gain((0.2, drawn), (0.0, nothing))[1:]))


def test_pictures_without_a_label_are_an_error(
    subjects: list[Subject], scenes: PicturebookDataset
) -> None:
    class Unlabelled:
        classes = scenes.classes

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Sample:
            return Sample(scenes[0].image, torch.full((32, 32), 254), "x")

    with pytest.raises(UserError, match="no pixel of these pictures is labelled"):
        measure(subjects[0], Unlabelled(), scenes.classes, {ALL: (0, 1, 2)})


@pytest.mark.parametrize("kinds", ["seen", "unseen"])
def test_one_kind_of_classes_alone(
    subjects: list[Subject], scenes: PicturebookDataset, kinds: str
) -> None:
    names = scenes.classes.names
    classes = ClassSet(names, names if kinds == "unseen" else ())
    found = measure(subjects[0], scenes, classes, {ALL: (0, 1, 2)})
    m = found.metrics[ALL]
    known = m.miou_unseen if kinds == "unseen" else m.miou_seen
    assert known == pytest.approx(m.miou)
    assert m.hiou != m.hiou  # undefined
    assert found.judged_by == f"mIoU of {kinds} classes"
    assert found.judged(ALL)[0] == pytest.approx(m.miou)
    assert found.reliability[f"{kinds} classes"].error == pytest.approx(
        found.reliability["all classes"].error
    )


def test_examples_of_pictures_of_two_sizes(
    subjects: list[Subject], scenes: PicturebookDataset
) -> None:
    sample = scenes[0]
    wide = Sample(sample.image[:, :24], sample.labels[:24], "wide")
    examples = stage_examples(subjects[0], [sample, wide], scenes.classes, {ALL: (0, 1, 2)})
    assert [e.predictions[ALL].shape for e in examples] == [(32, 32), (24, 32)]


def test_resampled_means_of_pictures() -> None:
    weights = draw_pictures(5, resamples=50)
    assert bool((weights.sum(dim=1) == 5).all())
    values = torch.tensor([1.0, 1.0, 5.0, 5.0, 5.0])
    means = resampled_means(values, torch.tensor([3, 3, 8, 9, 10]), resamples=500)
    # Picture 3, drawn k times of four, brings both of its values each time.
    expected = [(2 * k + 5 * (4 - k)) / (2 * k + 4 - k) for k in range(4, -1, -1)]
    assert sorted({round(mean, 9) for mean in means.tolist()}) == pytest.approx(expected)
    shaped = resampled_means(torch.ones(5, 2, 3), torch.tensor([0, 0, 1, 2, 3]), resamples=10)
    assert torch.equal(shaped, torch.ones(10, 2, 3, dtype=torch.float64))
    few = resampled_means(values, torch.tensor([1, 1, 2, 3, 3]))
    assert bool(few.isnan().all())  # three pictures tell nothing of their spread
