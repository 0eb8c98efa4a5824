"""Which pictures of a data set to show: chosen by what they hold, never by a prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cascade_clip.data.classes import ClassSet
from cascade_clip.data.labels import UNLABELLED
from cascade_clip.data.samples import Sample


def choose_scenes(samples: Sequence[Sample], classes: ClassSet, count: int) -> list[Sample]:
    """`count` scenes that between them show as many unseen classes as can be, then as many others;
    the choice looks at the truth only, never at a prediction."""
    left = list(samples)
    chosen: list[Sample] = []
    wanted: dict[int, float] = dict.fromkeys(range(len(classes.names)), 1.0)
    wanted.update(dict.fromkeys(classes.unseen_indices, 3.0))
    while left and len(chosen) < count:
        gains = [sum(wanted.get(label, 0.0) for label in visible_labels(s)) for s in left]
        best = left.pop(gains.index(max(gains)))
        chosen.append(best)
        for label in visible_labels(best):
            if label in wanted:
                wanted[label] /= 4
    return chosen


def visible_labels(sample: Sample) -> list[int]:
    """Labels with a visible share of the picture, ascending."""
    labels, counts = np.unique(sample.labels.numpy(), return_counts=True)
    enough = 0.005 * sample.labels.numel()
    return [int(x) for x, n in zip(labels, counts, strict=True) if n >= enough and x < UNLABELLED]
