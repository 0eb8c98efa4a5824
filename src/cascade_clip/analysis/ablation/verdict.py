"""Whether the published order of variants is found again: sentences computed from numbers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from cascade_clip.support.messages import counted


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
    """Sentences on the order of the rows, and on whether it is the published one."""
    best = max(rows, key=lambda row: row.mean)
    others = [row for row in rows if row is not best]
    second = max(others, key=lambda row: row.mean)
    lead = best.mean - second.mean
    if len(best.values) < 2:
        return (
            f"Best here: {best.name}, {lead:.1f} points before {second.name}. One seed shows no "
            "spread, so nothing is settled."
        )
    beyond = lead > max(best.spread, second.spread)
    first = (
        f"Best here: {best.name}, {lead:.1f} points before {second.name}, "
        f"{'more' if beyond else 'not more'} than the spread over seeds."
    )
    found = agreement(rows)
    if not found.pairs:
        return first
    if found.same == found.pairs and found.clear_same == found.pairs:
        judgement = "The published order is reproduced"
    elif found.clear_opposite == 0:
        judgement = "The published order is not contradicted, but not settled either"
    elif found.same == 0:
        judgement = "The published order is reversed"
    else:
        judgement = "The published order is not reproduced"
    return (
        f"{first} {judgement}: of {counted(found.pairs, 'pair')} that it ranks, {found.same} in "
        f"the same order here, {found.clear_same} of them by more than the spread over seeds; "
        f"{found.clear_opposite} contradict it by more than the spread."
    )
