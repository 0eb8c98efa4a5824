"""Several ways of doing the same, run in turns, so that a busy machine treats them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

Row = dict[str, float]


@dataclass
class Samples:
    """Seconds, round by round."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    """Time of all cores on this process. On a GPU that of the GPU."""
    first: float = 0.0
    """Wall-clock seconds of the first run: with compilation, where there is any."""
    result: Any = None
    """What the first run gave."""


def in_turns(
    ways: Mapping[str, Callable[[], object]], rounds: int, device: torch.device
) -> dict[str, Samples]:
    """Times each way once a round, after a first run; each round begins with another one."""
    samples = {name: _first(run, device) for name, run in ways.items()}
    names = list(ways)
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            wall, processor = timed(ways[name], device)
            samples[name].wall.append(wall)
            samples[name].processor.append(processor)
    return samples


def _first(run: Callable[[], object], device: torch.device) -> Samples:
    results: list[object] = []
    wall, _ = timed(lambda: results.append(run()), device)
    return Samples(first=wall, result=results[0])


def timed(run: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Wall-clock and processor seconds of one run."""
    if device.type == "cuda":
        return _timed_on_gpu(run)
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def _timed_on_gpu(run: Callable[[], object]) -> tuple[float, float]:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    wall = time.perf_counter()
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return time.perf_counter() - wall, begin.elapsed_time(end) / 1000


def compare(samples: Mapping[str, Samples], baseline: str) -> dict[str, Row]:
    """Medians, and how many times faster than the baseline: the median over rounds of the ratio
    within a round, with its quartiles."""
    base = samples[baseline]
    return {
        name: {
            "wall_s": statistics.median(own.wall),
            "processor_s": statistics.median(own.processor),
            "wall_ratio": _ratios(base.wall, own.wall)[1],
            "ratio_low": _ratios(base.processor, own.processor)[0],
            "ratio": _ratios(base.processor, own.processor)[1],
            "ratio_high": _ratios(base.processor, own.processor)[2],
            "first_wall_s": own.first,
            "rounds": len(own.wall),
        }
        for name, own in samples.items()
    }


def _ratios(base: list[float], own: list[float]) -> tuple[float, float, float]:
    """Quartiles."""
    ratios = [theirs / mine for theirs, mine in zip(base, own, strict=True)]
    if len(ratios) == 1:
        return ratios[0], ratios[0], ratios[0]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return low, middle, high
