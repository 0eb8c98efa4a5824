"""The page `docs/picturebook.md`, written from the results of `benchmarks.picturebook`."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

Row = dict[str, float]
"""Metrics in percent by name."""


COLUMNS = ("pAcc", "S", "U", "h", "S things", "S stuff", "U things", "U stuff")
PAIRS = {
    "single": "cascade", "frozen": "frozen-cascade", "spt": "spt-cascade",
    "otseg-plus": "otseg-cascade", "clip-rc": "clip-rc-cascade", "rpn": "rpn-cascade",
}  # fmt: skip
"""Methods, each with the same on Cascade-CLIP's stages."""


def markdown(result: Mapping[str, Any]) -> str:
    """The page `docs/picturebook.md`."""
    settings, machine, methods = result["settings"], result["machine"], result["methods"]
    columns = [*COLUMNS, "offset", "control U"]
    lines = [
        PAGE_HEAD.format(
            steps=settings["steps"],
            seeds=settings["seeds"],
            scenes=settings["scenes"],
            search_steps=settings["search_steps"],
            rates=", ".join(f"{rate:g}" for rate in settings["rates"]),
            command=command(settings, methods),
            crop=settings["crop"],
            cores=machine["cores"],
            torch=machine["torch"],
        ),
        "| method | lr | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 2) + "|",
        *(table_row(name, "", [row], columns) for name, row in result["untrained"].items()),
        *(
            table_row(name, f"{found['lr']:g}", found["seeds"], columns)
            for name, found in methods.items()
        ),
    ]
    notes = [verdict(methods), gains(result), pairs(methods), LONGER]
    return "\n\n".join(["\n".join(lines), *filter(None, notes)]) + "\n"


def command(settings: Mapping[str, Any], methods: Iterable[str]) -> str:
    """What to type for a page with these settings and methods."""
    rates = " ".join(f"{rate:g}" for rate in settings["rates"])
    return (
        f"python -m benchmarks.picturebook --steps {settings['steps']} "
        f"--search-steps {settings['search_steps']} --seeds {settings['seeds']} \\\n    "
        f"--scenes {settings['scenes']} --rates {rates} \\\n"
        f"    --methods {' '.join(methods)}"
    )


def table_row(method: str, rate: str, rows: list[Row], columns: list[str]) -> str:
    cells = [
        spread([row[column] for row in rows], 2 if column == "offset" else 1)
        if column in rows[0]
        else ""
        for column in columns
    ]
    return f"| {method} | {rate} | " + " | ".join(cells) + " |"


def spread(values: list[float], digits: int) -> str:
    """Mean and, over several seeds, sample standard deviation."""
    centre = f"{statistics.fmean(values):.{digits}f}"
    if len(values) < 2:
        return centre
    return f"{centre} ± {statistics.stdev(values):.{digits}f}"


def verdict(methods: Mapping[str, Any]) -> str:
    """One sentence on the paper's ordering, computed from the numbers."""
    if not {"cascade", "single", "fusion"} <= methods.keys():
        return ""
    compared = ("cascade", "single", "fusion")
    h = {name: [row["h"] for row in methods[name]["seeds"]] for name in compared}
    centre = {name: statistics.fmean(values) for name, values in h.items()}
    noise = max(deviation(values) for values in h.values())
    order = sorted(centre, key=lambda name: -centre[name])
    gaps = [centre[a] - centre[b] for a, b in pairwise(order)]
    clear = "more" if min(gaps) > noise else "not all more"
    holds = order == ["cascade", "single", "fusion"]
    return (
        f"Order by hIoU here: {' > '.join(order)}, with gaps of "
        f"{' and '.join(f'{gap:.1f}' for gap in gaps)} points, {clear} than the largest spread "
        f"over seeds ({noise:.1f}). The paper's order, cascade > single > fusion, is "
        f"{'reproduced' if holds else 'not reproduced'}"
        f"{'' if min(gaps) > noise else ', but not settled by this many seeds'}."
    )


def gains(result: Mapping[str, Any]) -> str:
    """What training on the masks of seen classes brought, in words."""
    if "cascade" not in result["methods"]:
        return ""
    centre = means(result["methods"]["cascade"]["seeds"])
    return "The cascade against " + "; against ".join(
        f"{name}: {centre['S'] - row['S']:+.1f} points of S, {centre['U'] - row['U']:+.1f} of U, "
        f"{centre['h'] - row['h']:+.1f} of h"
        for name, row in result["untrained"].items()
    ) + "."  # fmt: skip


def pairs(methods: Mapping[str, Any]) -> str:
    """What the cascade's stages add to each method, in words."""
    found = []
    for alone, staged in PAIRS.items():
        if not {alone, staged} <= methods.keys():
            continue
        rows = [methods[name]["seeds"] for name in (alone, staged)]
        gap = means(rows[1])["h"] - means(rows[0])["h"]
        noise = max(deviation([row["h"] for row in seeds]) for seeds in rows)
        settled = "" if abs(gap) > noise else " (within the spread over seeds)"
        found.append(f"{staged} against {alone} {gap:+.1f}{settled}")
    if not found:
        return ""
    return f"What the cascade adds to each method, points of h: {'; '.join(found)}."


def means(rows: list[Row]) -> Row:
    """Each metric's mean over seeds."""
    return {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}


def deviation(values: list[float]) -> float:
    """Sample standard deviation; 0 for a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


LONGER = "The embedded model is trained for longer: [README](../README.md#results)."

PAGE_HEAD = """# The picture book as a benchmark

<!-- Written by `python -m benchmarks.picturebook`; don't edit. -->

Scenes of 16 things on 6 kinds of stuff; the masks of cat, boat, mushroom, umbrella, star, sand and
brick are withheld from training. All methods stand on the [embedded CLIP](embedded-clips.md), which
was taught by captions of whole scenes, words for all classes but no mask or place. Numbers are
percent of mIoU over seen (S) and unseen (U) classes and their harmonic mean (h), mean ± standard
deviation over {seeds} seeds. What is trained sees windows of {crop} pixels, the size of the CLIP's
pretraining; scores of windows half a patch apart are averaged (`inference.shifts`), for methods
without training as well. Those take their best side and, in the second row, the best of the
[training-free methods](photographs.md), both chosen on the calibration part.

Same for every method: {steps} steps of the recipe's batches; the learning rate with the best hIoU
on the validation part (one seed, {search_steps} steps) among {rates} and, as long as the lowest
is the best, half of it; the seen-score offset with the best hIoU on the calibration part; {scenes}
test scenes that neither has seen. Higher rates are left out: `--methods fusion --rates 0.016`
shows one that is ahead after {search_steps} steps and can break down by {steps}. *Control U* is
mIoU(U) after the text embeddings of the unseen classes were exchanged among each other: what
remains then is chance. In the recipes of this data set intermediate levels pass through the last
block's values and CLIP's own projection (`model.encoder.level_projection: value-path`), and
decoders start at CLIP's own similarity (`model.head.decoder_start: identity`; RPN has no decoder);
*cascade-released* has random projections instead, and decoders that start at random.

Measured on {cores} CPU cores with torch {torch} by

```sh
{command}
```
"""
