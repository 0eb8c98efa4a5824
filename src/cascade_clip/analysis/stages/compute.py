"""What each stage of a cascade gives, and what is missing without it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from cascade_clip.analysis.bootstrap import MIN_DRAWN, draw_pictures, interval
from cascade_clip.analysis.stages.calibration import Reliability, ReliabilityCount
from cascade_clip.analysis.stages.confusion import outcomes
from cascade_clip.analysis.stages.offsets import OFFSETS, OffsetCurve
from cascade_clip.analysis.stages.pixels import PixelBest, View, best_pixels
from cascade_clip.analysis.subjects import Subject
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.labels import IGNORE, full_targets
from cascade_clip.data.samples import Sample, SegmentationDataset
from cascade_clip.errors import UserError
from cascade_clip.evaluation.evaluate import BATCH_SIZE, DatasetBatches
from cascade_clip.evaluation.examples import Example
from cascade_clip.evaluation.metrics import Metrics, SegmentationMetrics
from cascade_clip.evaluation.stages import stage_names
from cascade_clip.model.aggregation import WeightedSum, build_aggregation
from cascade_clip.model.heads.cascade import CascadeHead
from cascade_clip.model.network import SegmentationNetwork

ALL = "all stages"


class Judge(StrEnum):
    """One number for a version of a network, in the order of `StageMeasurements.resampled`."""

    SEEN = "mIoU of seen classes"
    UNSEEN = "mIoU of unseen classes"
    HIOU = "hIoU"


class Gain(NamedTuple):
    """A difference of two such numbers, and its 95 % interval (NaN for too few pictures)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class StageMeasurements:
    """What one pass over a data set gave for several versions of one network."""

    metrics: dict[str, Metrics]
    """By version; `ALL` is the network itself, at its own seen-score offset."""
    counts: Tensor
    """(pictures, versions, 3, C) int64: pixels that are hits, predicted, true; by class."""
    confusion: Tensor
    """(C, C) int64 of the network itself: true class (row) by predicted class."""
    offset: float
    """The network's own seen-score offset."""
    curve: OffsetCurve
    reliability: dict[str, Reliability]
    """Of the network itself, by what was predicted: any class, a seen one, an unseen one."""
    classes: ClassSet

    @cached_property
    def resampled(self) -> dict[str, Tensor]:
        """S, U and hIoU of each version when pictures are drawn anew: (resamples, 3)."""
        weights = draw_pictures(len(self.counts))
        totals = (weights @ self.counts.double().flatten(1)).unflatten(1, self.counts.shape[1:])
        groups = _group_means(_iou_where_present(totals), self.classes)  # (resamples, versions, 3)
        return {name: groups[:, version] for version, name in enumerate(self.metrics)}

    def intervals(self) -> dict[str, Tensor]:
        """The 95 % interval of each version's S, U and hIoU: (2, 3) each."""
        return {name: interval(values) for name, values in self.resampled.items()}

    @cached_property
    def judged_by(self) -> Judge:
        """hIoU, or where the pictures show but one kind of classes, the mIoU of that kind."""
        kinds = list(outcomes(self.confusion, self.classes))
        return Judge.HIOU if len(kinds) == 2 else Judge.SEEN if kinds == ["seen"] else Judge.UNSEEN

    def judged(self, name: str) -> tuple[float, Tensor]:
        """What a version is judged by: its value, and that when pictures are drawn anew."""
        m, judge = self.metrics[name], self.judged_by
        values = {Judge.SEEN: m.miou_seen, Judge.UNSEEN: m.miou_unseen, Judge.HIOU: m.hiou}
        return values[judge], self.resampled[name][:, list(Judge).index(judge)]

    def gain(self, name: str) -> Gain:
        """What one version is judged by, minus that of the network itself."""
        return _gain(self.judged(name), self.judged(ALL))


@dataclass(frozen=True)
class LevelWeights:
    """How a stage weighs its blocks: where training started, and what it learned."""

    stage: str
    blocks: tuple[int, ...]
    start: tuple[float, ...]
    learned: tuple[float, ...]


@dataclass(frozen=True)
class ClassGains:
    """IoU per class of one network minus that of another, in [-1, 1]; NaN where undefined."""

    names: tuple[str, ...]
    gains: Tensor
    """(C,)"""
    intervals: Tensor
    """(2, C): 95 %, from pictures drawn anew, the same for both; NaN for classes that are in fewer
    than `MIN_DRAWN` of them."""


def stage_views(subject: Subject) -> dict[str, View]:
    """The network itself, each stage alone, and the network without each stage.

    Leaving a stage out here keeps what the others have learned in its company. (The paper's Table
    15 trains models without it anew.)
    """
    network = subject.network
    if not isinstance(network, SegmentationNetwork) or len(network.settings.head.stages) == 1:
        return {ALL: (0,)}
    names = stage_names(network)
    every = tuple(range(len(names)))
    views = {ALL: every} | {f"{name} alone": (stage,) for stage, name in enumerate(names)}
    if len(names) > 2:
        without = {stage: every[:stage] + every[stage + 1 :] for stage in every}
        views |= {f"without {names[stage]}": rest for stage, rest in without.items()}
    return views


def measure(
    subject: Subject,
    dataset: SegmentationDataset,
    classes: ClassSet,
    views: Mapping[str, View],
    advance: Callable[[int], None] = lambda pictures: None,
) -> StageMeasurements:
    """All that `StageMeasurements` holds, in one pass; the network sees each picture once.

    `classes` are those of the data set, divided into seen and unseen ones as the model is judged.

    Raises `UserError` for mask logits that are not finite, and if no pixel is labelled.
    """
    offset = subject.recipe.inference.seen_score_offset
    text, seen = subject.text(classes), seen_mask(classes, subject.device)
    metrics = {
        name: SegmentationMetrics(classes.names, classes.unseen).to(subject.device)
        for name in views
    }
    curve = OffsetCurve(classes, (*OFFSETS, offset))
    reliability = ReliabilityCount(groups=2)
    counts = []
    for batch in DatasetBatches(dataset, BATCH_SIZE):
        labels = full_targets(batch.labels.to(subject.device))
        found = best_pixels(subject, batch.images, text, seen, list(views.values()))
        for truth, best in zip(labels, found, strict=True):
            predicted = [each.labels(offset) for each in best]  # (H, W) each
            for metric, prediction in zip(metrics.values(), predicted, strict=True):
                metric.update(prediction, truth)
            counts.append(_count(torch.stack(predicted), truth, len(classes.names)))
            curve.update(best[0], truth)
            _count_confidence(reliability, best[0], truth, offset)
        advance(len(labels))
    if not bool(curve.truth.any()):
        raise UserError("no pixel of these pictures is labelled; stages needs masks to measure by")
    groups = {"all classes": (0, 1), "seen classes": (1,), "unseen classes": (0,)}
    return StageMeasurements(
        metrics={name: metric.compute() for name, metric in metrics.items()},
        counts=torch.stack(counts),
        confusion=metrics[ALL].confusion.cpu(),
        offset=offset,
        curve=curve,
        reliability={name: reliability.of(*members) for name, members in groups.items()},
        classes=classes,
    )


def stage_examples(
    subject: Subject, samples: Sequence[Sample], classes: ClassSet, views: Mapping[str, View]
) -> list[Example]:
    """What each version of the network makes of some pictures."""
    text, seen = subject.text(classes), seen_mask(classes, subject.device)
    offset = subject.recipe.inference.seen_score_offset
    examples = []
    for sample in samples:
        (best,) = best_pixels(subject, sample.image[None], text, seen, list(views.values()))
        labels = [each.labels(offset).cpu().numpy() for each in best]
        examples.append(
            Example(
                name=sample.name,
                image=sample.image.permute(1, 2, 0).numpy(),
                truth=full_targets(sample.labels).numpy(),
                predictions=dict(zip(views, labels, strict=True)),
            )
        )
    return examples


def level_weights(network: SegmentationNetwork) -> list[LevelWeights]:
    """The weights of every stage that sums its blocks (Table 17 of the paper); other stages, such
    as those of a single block, have none."""
    head = network.head
    if not isinstance(head, CascadeHead):
        return []
    found = []
    for name, blocks, aggregation in zip(
        stage_names(network), head.stages, head.aggregations, strict=True
    ):
        if isinstance(aggregation, WeightedSum):
            start = build_aggregation(blocks, network.encoder.embed_dim, head.settings)
            assert isinstance(start, WeightedSum)
            weights = (tuple(w.weights.detach().tolist()) for w in (start, aggregation))
            found.append(LevelWeights(name, blocks, *weights))
    return found


def class_gains(ours: StageMeasurements, theirs: StageMeasurements) -> ClassGains:
    """Gains and losses of the first network over the second, measured on the same pictures."""
    weights = draw_pictures(len(ours.counts))
    iou = []
    for measured in (ours, theirs):
        counts = measured.counts[:, 0].double()  # (pictures, 3, C), of the network itself
        drawn = (weights @ counts.flatten(1)).unflatten(1, counts.shape[1:])
        iou.append((_iou(counts.sum(dim=0)), _iou_where_present(drawn)))
    spread = (iou[0][1] - iou[1][1]).nanquantile(
        torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0
    )
    pictures_with_it = (ours.counts[:, 0, 2] > 0).sum(dim=0)  # (C,)
    spread[:, pictures_with_it < MIN_DRAWN] = torch.nan
    return ClassGains(ours.classes.names, iou[0][0] - iou[1][0], spread)


def seen_mask(classes: ClassSet, device: torch.device) -> Tensor:
    """(C,) bool: which classes are seen."""
    mask = torch.zeros(len(classes.names), dtype=torch.bool, device=device)
    mask[list(classes.seen_indices)] = True
    return mask


def _count(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Hits, predicted and true pixels by class, of V label maps (V, H, W): (V, 3, C)."""
    counted = truth != IGNORE
    true = truth[counted]
    rows = []
    for labels in predicted[:, counted]:
        values = (labels[labels == true], labels, true)
        rows.append(torch.stack([torch.bincount(v, minlength=classes) for v in values]))
    return torch.stack(rows).cpu()


def _count_confidence(
    reliability: ReliabilityCount, best: PixelBest, truth: Tensor, offset: float
) -> None:
    counted = truth != IGNORE
    reliability.update(
        best.confidence(offset)[counted],
        (best.labels(offset) == truth)[counted],
        best.seen_wins(offset)[counted],
    )


def _iou(counts: Tensor) -> Tensor:
    """Counts (..., 3, C) to IoU (..., C); NaN for absent classes."""
    hits, predicted, true = counts.unbind(dim=-2)
    return hits / (predicted + true - hits)


def _iou_where_present(counts: Tensor) -> Tensor:
    """As `_iou`, NaN also for classes that no drawn picture shows: their IoU would be 0 or not
    count, by the chance of a single wrong pixel."""
    return _iou(counts).masked_fill(counts[..., 2, :] == 0, torch.nan)


def _group_means(iou: Tensor, classes: ClassSet) -> Tensor:
    """IoU (..., C) to S, U and their harmonic mean (..., 3)."""
    seen = seen_mask(classes, iou.device)
    s, u = iou[..., seen].nanmean(dim=-1), iou[..., ~seen].nanmean(dim=-1)
    return torch.stack([s, u, 2 * s * u / (s + u).clamp(min=1e-12)], dim=-1)


def gain_over(ours: StageMeasurements, theirs: StageMeasurements) -> Gain:
    """What one network is judged by, minus that of another on the same pictures."""
    return _gain(ours.judged(ALL), theirs.judged(ALL))


def _gain(one: tuple[float, Tensor], other: tuple[float, Tensor]) -> Gain:
    value = one[0] - other[0]
    low, high = interval(one[1] - other[1]).tolist()
    if not low - 1e-9 <= value <= high + 1e-9:  # so few pictures that many draws lack classes
        low = high = math.nan
    return Gain(value, low, high)
