"""Whether the published order of variants is found again."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations


@dataclass(frozen=True)
class Measured:
    """hIoU of one variant over seeds, and what was published, both in percent."""

    name: str
    values: tuple[float, ...]
    published: float | None

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float:
        """Sample standard deviation over seeds; 0 for one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


@dataclass(frozen=True)
class Agreement:
    """How many pairs of variants that the publication orders stand in the same order here.

    `clear` counts are those of pairs whose difference here exceeds the larger spread of the two.
    """

    pairs: int
    same: int
    clear_same: int
    clear_opposite: int


def agreement(rows: Sequence[Measured]) -> Agreement:
    """Compares all pairs of rows whose published figures differ."""
    pairs = same = clear_same = clear_opposite = 0
    for a, b in combinations([row for row in rows if row.published is not None], 2):
        assert a.published is not None and b.published is not None
        if a.published == b.published:
            continue
        better, worse = (a, b) if a.published > b.published else (b, a)
        difference = better.mean - worse.mean
        clear = abs(difference) > max(a.spread, b.spread) and min(len(a.values), len(b.values)) > 1
        pairs += 1
        same += difference > 0
        clear_same += clear and difference > 0
        clear_opposite += clear and difference < 0
    return Agreement(pairs, same, clear_same, clear_opposite)


def verdict(rows: Sequence[Measured]) -> str:
    """How many pairs of rows stand in the published order; empty if it orders none."""
    found = agreement(rows)
    if not found.pairs:
        return ""
    return (
        f"Pairs in the published order: {found.same} of {found.pairs} ({found.clear_same} by more "
        f"than the spread over seeds); reversed by more than it: {found.clear_opposite}."
    )
