"""Largest differences to the released code's numbers: `python -m benchmarks.parity`.

Measures the network and its naive twin on the golden cases, and on cases of other sizes against the
plain reference; prints the tables, and writes them to `benchmarks/results/parity.json` and into
`docs/fidelity.md`. `--full-size` adds a ViT-B/16 at 512 px with 171 classes, which takes minutes.
`--only FOLDER` measures the golden cases of another folder, and only prints.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import torch
from benchmarks.pages import fill
from tests.golden.cases import (
    DATA,
    SEEN_SCORE_OFFSET,
    SETTINGS,
    ZEG,
    Golden,
    cases_in,
    golden_file,
    golden_from,
)
from tests.golden.synthetic import FULL_SIZE, SYNTHETIC, synthetic
from tests.golden.test_forward import TOLERANCE, decided_pixels, outputs, slide_options
from tests.golden.test_training import FLOOR, RELATIVE, fast_step, naive_step
from tests.naive import sliding as naive_sliding
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.inference.sliding import sliding_labels, sliding_scores
from cascade_clip.io.files import write_text

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "parity.json"
PAGE = ROOT / "docs" / "fidelity.md"
NAMES = {"cascade_small": "Cascade-CLIP", "zeg_small": "ZegCLIP"}
TWINS = ("fast", "naive")

GRADIENTS_TO_LARGEST = "gradients, to the largest of their tensor"

Row = dict[str, float]
Rows = dict[str, Row]
"""Case and twin -> quantity -> largest difference."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", type=Path, metavar="FOLDER", help="golden cases to measure")
    parser.add_argument("--full-size", action="store_true", help="also a ViT-B/16 at 512 px")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    golden = measure_all(
        {n: golden_file(p) for n, p in cases_in(arguments.only or DATA, *ZEG).items()}
    )
    if arguments.only:
        print(table(golden))
        return
    before = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    result = {
        "torch": torch.__version__,
        "processor": platform.machine(),
        "device": "cpu",
        "largest_differences": golden,
        "other_sizes": measure_all({n: golden_from(*synthetic(s)) for n, s in SYNTHETIC.items()}),
        "full_size": measure_all({"ViT-B/16": golden_from(*synthetic(FULL_SIZE))})
        if arguments.full_size
        else before.get("full_size", {}),
    }
    text = json.dumps(result, indent=2) + "\n"
    write_text(RESULT, text)
    tables = both_tables(golden, result["other_sizes"], result["full_size"])
    fill(PAGE, "parity", tables)
    print(tables)


def measure_all(cases: dict[str, Golden]) -> Rows:
    return {f"{name} {twin}": measure(case, twin) for name, case in cases.items() for twin in TWINS}


def measure(case: Golden, twin: str) -> Row:
    """Largest differences of one twin on one case; for labels the number of pixels that differ."""
    row = forward_differences(case, twin)
    for setting in SETTINGS:
        if f"{setting}.train.labels" not in case.values:
            continue
        for name, value in (
            sliding_differences(case, twin, setting) | training_differences(case, twin, setting)
        ).items():
            row[name] = max(row.get(name, 0.0), value)
    return row


def forward_differences(case: Golden, twin: str) -> Row:
    values = case.values
    features, global_embedding, mask_logits = outputs(case, twin)
    upsampled = F.interpolate(
        mask_logits, size=case.image_size, mode="bilinear", align_corners=False
    )
    scores = upsampled.sigmoid()
    lowered = scores.clone()
    lowered[:, case.seen] -= SEEN_SCORE_OFFSET["inductive"]
    return {
        "level features": max(
            largest(feature, values[f"features.{index}"].flatten(2).transpose(1, 2))
            for index, feature in enumerate(features)
        ),
        "global embedding": largest(global_embedding, values["cls_embedding"]),
        "mask logits": largest(upsampled, values["mask_logits"]),
        "scores": max(
            largest(scores, values["transductive.scores"]),
            largest(lowered, values["inductive.scores"]),
        ),
    }


def sliding_differences(case: Golden, twin: str, setting: str) -> Row:
    """Scores, and labels where the reference is decided by more than the tolerance."""
    image, text = case.values[f"{setting}.slide.image"], case.values["text_embeddings"]
    expected = case.values[f"{setting}.slide.scores"]
    options = slide_options(case, setting)
    with torch.no_grad():
        if twin == "fast":
            network = case.network()
            scores = sliding_scores(network, image, text, **options)
            labels = sliding_labels(network, image, text, **options)
        else:
            scores = naive_sliding.sliding_scores(
                lambda window: case.naive(window, text, case.model.network_state).mask_logits,
                image,
                patch=case.model.vision["patch_size"],
                **options,
            )
            labels = scores.argmax(1)
    differ = labels != case.values[f"{setting}.slide.labels"].long()
    return {
        "sliding-window scores": largest(scores, expected),
        "labels": float((differ & decided_pixels(expected)).sum()),
    }


def training_differences(case: Golden, twin: str, setting: str) -> Row:
    values = case.values
    step = fast_step if twin == "fast" else naive_step
    focal, dice, targets, grads = step(case, setting)
    released = case.model.family.to_released(grads)
    row = {
        "losses": max(
            relative(focal.detach(), values[f"{setting}.train.loss_mask"][0]),
            relative(dice.detach(), values[f"{setting}.train.loss_dice"][0]),
        ),
        "gradient norms": 0.0,
        "gradients": 0.0,
        GRADIENTS_TO_LARGEST: 0.0,
    }
    if setting == "transductive":
        pseudo = values["transductive.train.pseudo_labels"].squeeze(1).long()
        decided = decided_pixels(values["mask_logits"][:, case.unseen])
        row["pseudo-labels"] = float(((targets != pseudo) & decided).sum())
    for name, expected in values.items():
        for kind, key in ((".grad_norm.", "gradient norms"), (".grad.", "gradients")):
            if name.startswith(setting + kind):
                actual = released[name.removeprefix(setting + kind)]
                if key == "gradient norms":
                    actual, expected = actual.norm(), expected[0]
                row[key] = max(row[key], relative(actual, expected))
                if key == "gradients":
                    share = largest(actual, expected) / float(expected.abs().max().clamp(min=0.01))
                    row[GRADIENTS_TO_LARGEST] = max(row[GRADIENTS_TO_LARGEST], share)
    return row


def largest(actual: Tensor, expected: Tensor) -> float:
    """Largest absolute difference."""
    if actual.shape != expected.shape:
        raise ValueError(f"{tuple(actual.shape)} instead of {tuple(expected.shape)}")
    return float((actual - expected).abs().max())


def relative(actual: Tensor, expected: Tensor) -> float:
    """Largest relative difference, with values under `FLOOR / RELATIVE` taken as that large."""
    return float(((actual - expected).abs() / expected.abs().clamp(min=FLOOR / RELATIVE)).max())


def both_tables(golden: Rows, other_sizes: Rows, full_size: Rows) -> str:
    """The golden cases; below them the largest differences over the other sizes."""
    merged = {f"other sizes {twin}": largest_of(other_sizes, twin) for twin in TWINS} | full_size
    # Element by element, the reference's own rounding would be larger than what is allowed.
    shown = {
        case: {name: value for name, value in row.items() if name != "gradients"}
        for case, row in merged.items()
    }
    return f"{table(golden)}\n\n{table(shown)}"


def largest_of(rows: Rows, twin: str) -> Row:
    """Over all cases."""
    merged: Row = {}
    for case, row in rows.items():
        if case.endswith(f" {twin}"):
            merged |= {name: max(value, merged.get(name, 0.0)) for name, value in row.items()}
    return merged


def table(rows: Rows) -> str:
    """Markdown: one line a quantity, one column a case and twin."""
    columns = [column.rpartition(" ")[::2] for column in rows]
    head = " | ".join(f"{NAMES.get(case, case)}, {twin}" for case, twin in columns)
    lines = [f"| | allowed | {head} |", "|---|---|" + "---|" * len(columns)]
    for name in next(iter(rows.values())):
        if name.endswith("labels"):
            allowed, shown = "0 px", "{:.0f} px"
        elif name.startswith(("losses", "gradient")):
            allowed, shown = f"{RELATIVE:.0e} rel.", "{:.1e}"
        else:
            allowed, shown = f"{TOLERANCE:.0e}", "{:.1e}"
        cells = " | ".join(shown.format(row.get(name, 0.0)) for row in rows.values())
        lines.append(f"| {name} | {allowed} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
