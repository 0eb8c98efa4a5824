"""What a label says that is no class.

Labels are integers 0..C-1. Two other values differ in meaning: `UNLABELLED` pixels belong to some
class that has not been named yet; `IGNORE` pixels (void, padding, excluded background) are never
learned from. As both fit in a byte, a data set has at most `UNLABELLED` classes.
"""

from __future__ import annotations

from torch import Tensor

UNLABELLED = 254
IGNORE = 255


def full_targets(labels: Tensor) -> Tensor:
    """Labels (B, H, W) of full supervision, int64: all classes; UNLABELLED is ignored."""
    labels = labels.long()
    return labels.masked_fill(labels == UNLABELLED, IGNORE)
