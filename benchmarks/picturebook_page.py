"""The page `docs/picturebook.md`, written from the results of `benchmarks.picturebook`."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

Row = dict[str, float]
"""Metrics in percent by name."""


def markdown(result: Mapping[str, Any]) -> str:
    """The page `docs/picturebook.md`."""
    settings, machine = result["settings"], result["machine"]
    columns = ["pAcc", "S", "U", "h", "S things", "S stuff", "U things", "U stuff"]
    lines = [
        PAGE_HEAD.format(
            steps=settings["steps"],
            seeds=settings["seeds"],
            scenes=settings["scenes"],
            search_steps=settings["search_steps"],
            rates=", ".join(f"{rate:g}" for rate in settings["rates"]),
            command=command(settings),
            crop=settings["crop"],
            cores=machine["cores"],
            torch=machine["torch"],
        ),
        "| method | lr | " + " | ".join([*columns, "offset", "control U"]) + " |",
        "|---" * (len(columns) + 4) + "|",
        *(
            table_row(name, "", [result[name]], [*columns, "offset", "control U"])
            for name in ("raw CLIP", "raw CLIP at its own size")
        ),
    ]
    for method, found in result["methods"].items():
        rows = found["seeds"]
        lines.append(table_row(method, f"{found['lr']:g}", rows, [*columns, "offset", "control U"]))
    return "\n".join([*lines, "", verdict(result["methods"]), "", gains(result), "", LONGER, ""])


def command(settings: Mapping[str, Any]) -> str:
    """What to type for a page with these settings."""
    rates = " ".join(f"{rate:g}" for rate in settings["rates"])
    return (
        f"python -m benchmarks.picturebook --steps {settings['steps']} "
        f"--search-steps {settings['search_steps']} --seeds {settings['seeds']} "
        f"--scenes {settings['scenes']} --rates {rates}"
    )


def table_row(method: str, rate: str, rows: list[Row], columns: list[str]) -> str:
    cells = [spread([row[column] for row in rows], 2 if column == "offset" else 1)
             for column in columns]  # fmt: skip
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
    h = {name: [row["h"] for row in found["seeds"]] for name, found in methods.items()}
    centre = {name: statistics.fmean(values) for name, values in h.items()}
    noise = max(statistics.stdev(values) if len(values) > 1 else 0.0 for values in h.values())
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


def mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def gains(result: Mapping[str, Any]) -> str:
    """What training on the masks of seen classes brought, in words."""
    raw, own = result["raw CLIP"], result["raw CLIP at its own size"]
    rows = result["methods"]["cascade"]["seeds"]
    centre = {key: mean(row[key] for row in rows) for key in ("S", "U")}
    return (
        "Against CLIP without training at the same size, the cascade gains "
        f"{centre['S'] - raw['S']:+.1f} points of S and {centre['U'] - raw['U']:+.1f} of U; "
        "against CLIP at the size of its pretraining, where it is strongest, "
        f"{centre['S'] - own['S']:+.1f} and {centre['U'] - own['U']:+.1f}."
    )


LONGER = "The embedded model is trained for longer, 1,000 steps: [README](../README.md#results)."

PAGE_HEAD = """# The picture book as a benchmark

<!-- Written by `python -m benchmarks.picturebook`; don't edit. -->

Scenes of 16 things on 6 kinds of stuff; the masks of cat, boat, mushroom, umbrella, star, sand and
brick are withheld from training. All methods stand on the embedded CLIP, which has seen words for
all classes but no mask. Numbers are percent of mIoU over seen (S) and unseen (U) classes and their
harmonic mean (h), mean ± standard deviation over {seeds} seeds. The
networks see windows of {crop} pixels; the embedded CLIP was pretrained at 96, and is at its best
there. Scores of windows half a patch apart are averaged (`inference.shifts`), for CLIP alone as
well.

Same for every method: {steps} steps of 8 scenes; the learning rate with the best hIoU among
{rates} on the validation part (one seed, {search_steps} steps); the seen-score
offset with the best hIoU on the calibration part; {scenes} test scenes that neither has seen.
*Control U* is mIoU(U) after the text embeddings of the unseen classes were exchanged among each
other: what remains then is chance.

Measured on {cores} CPU cores with torch {torch} by

```sh
{command}
```
"""
