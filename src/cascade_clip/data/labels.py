"""What a label says that is no class.

Labels are integers 0..C-1. Two other values differ in meaning: `UNLABELLED` pixels belong to some
class that has not been named yet; `IGNORE` pixels (void, padding, excluded background) are never
learned from. As both fit in a byte, data to train on has at most `UNLABELLED` classes; with more,
data is for evaluation alone, and its ignored pixels have `WIDE_IGNORE`.
"""

from __future__ import annotations

from torch import Tensor

UNLABELLED = 254
IGNORE = 255
WIDE_IGNORE = 65_535


def ignored_label(classes: int) -> int:
    """The label of ignored pixels in data of so many classes."""
    return IGNORE if classes <= UNLABELLED else WIDE_IGNORE


def special_labels(classes: int) -> dict[int, str]:
    """The labels that are no class in data of so many classes, with what they mean."""
    if ignored_label(classes) == IGNORE:
        return {UNLABELLED: "unlabelled", IGNORE: "ignored"}
    return {WIDE_IGNORE: "ignored"}


def full_targets(labels: Tensor, ignored: int = IGNORE) -> Tensor:
    """Labels (B, H, W) of full supervision, int64: all classes; UNLABELLED is ignored. `ignored` is
    the `ignored_label` of the data."""
    labels = labels.long()
    return labels.masked_fill(labels == UNLABELLED, IGNORE) if ignored == IGNORE else labels
