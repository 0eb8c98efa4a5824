"""Largest differences to the released code's numbers: `python -m benchmarks.parity`.

Measures the network and its naive twin on both golden cases, prints the table, and writes it to
`benchmarks/results/parity.json` and into `docs/fidelity.md`.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

import torch
from tests.golden.cases import CASES, SETTINGS, Golden, golden
from tests.golden.test_forward import TOLERANCE, outputs, slide_options
from tests.golden.test_training import FLOOR, RELATIVE, fast_step, naive_step
from tests.naive import sliding as naive_sliding
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.checkpoint.official_keys import to_released
from cascade_clip.imageio import write_whole
from cascade_clip.inference.sliding import sliding_labels, sliding_scores

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "parity.json"
PAGE = ROOT / "docs" / "fidelity.md"
BEGIN, END = "<!-- parity: begin -->", "<!-- parity: end -->"
NAMES = {"cascade": "Cascade-CLIP", "zeg": "ZegCLIP"}
TWINS = ("fast", "naive")

Row = dict[str, float]


def main() -> None:
    torch.set_num_threads(1)
    rows = {f"{case} {twin}": measure(golden(case), twin) for case in CASES for twin in TWINS}
    result = {
        "torch": torch.__version__,
        "processor": platform.machine(),
        "device": "cpu",
        "largest_differences": rows,
    }
    text = json.dumps(result, indent=2) + "\n"
    write_whole(RESULT, lambda path: path.write_text(text, encoding="utf-8"))
    page = put_between(PAGE.read_text(encoding="utf-8"), table(rows))
    write_whole(PAGE, lambda path: path.write_text(page, encoding="utf-8"))
    print(table(rows))


def measure(case: Golden, twin: str) -> Row:
    """Largest differences of one twin on one case; for labels the number of pixels that differ."""
    row = forward_differences(case, twin)
    for setting in SETTINGS:
        for name, value in (
            sliding_differences(case, twin, setting) | training_differences(case, twin, setting)
        ).items():
            row[name] = max(row.get(name, 0.0), value)
    return row


def forward_differences(case: Golden, twin: str) -> Row:
    values = case.values
    features, global_embedding, mask_logits = outputs(case, twin)
    size = values["mask_logits"].shape[2:]
    upsampled = F.interpolate(mask_logits, size=size, mode="bilinear", align_corners=False)
    scores = upsampled.sigmoid()
    lowered = scores.clone()
    lowered[:, case.seen] -= case.model.classes.seen_score_offset
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
    top = expected.topk(2, dim=1).values
    differ = labels != case.values[f"{setting}.slide.labels"].long()
    return {
        "sliding-window scores": largest(scores, expected),
        "labels": float((differ & (top[:, 0] - top[:, 1] > TOLERANCE)).sum()),
    }


def training_differences(case: Golden, twin: str, setting: str) -> Row:
    values = case.values
    step = fast_step if twin == "fast" else naive_step
    focal, dice, targets, grads = step(case, setting)
    released = to_released(grads, case.model.sizes)
    row = {
        "losses": max(
            relative(focal.detach(), values[f"{setting}.train.loss_mask"][0]),
            relative(dice.detach(), values[f"{setting}.train.loss_dice"][0]),
        ),
        "gradient norms": 0.0,
        "gradients": 0.0,
    }
    if setting == "transductive":
        pseudo = values["transductive.train.pseudo_labels"].squeeze(1).long()
        row["pseudo-labels"] = float((targets != pseudo).sum())
    for name, expected in values.items():
        for kind, key in ((".grad_norm.", "gradient norms"), (".grad.", "gradients")):
            if name.startswith(setting + kind):
                actual = released[name.removeprefix(setting + kind)]
                if key == "gradient norms":
                    actual, expected = actual.norm(), expected[0]
                row[key] = max(row[key], relative(actual, expected))
    return row


def largest(actual: Tensor, expected: Tensor) -> float:
    """Largest absolute difference."""
    if actual.shape != expected.shape:
        raise ValueError(f"{tuple(actual.shape)} instead of {tuple(expected.shape)}")
    return float((actual - expected).abs().max())


def relative(actual: Tensor, expected: Tensor) -> float:
    """Largest relative difference, with values under `FLOOR / RELATIVE` taken as that large."""
    return float(((actual - expected).abs() / expected.abs().clamp(min=FLOOR / RELATIVE)).max())


def table(rows: dict[str, Row]) -> str:
    """Markdown: one line a quantity, one column a case and twin."""
    pairs = [(case, twin) for case in CASES for twin in TWINS]
    head = " | ".join(f"{NAMES[case]}, {twin}" for case, twin in pairs)
    lines = [f"| | allowed | {head} |", "|---|---|" + "---|" * len(pairs)]
    for name in rows[f"{CASES[0]} {TWINS[0]}"]:
        if name.endswith("labels"):
            allowed, shown = "0 px", "{:.0f} px"
        elif name.startswith(("losses", "gradient")):
            allowed, shown = f"{RELATIVE:.0e} rel.", "{:.1e}"
        else:
            allowed, shown = f"{TOLERANCE:.0e}", "{:.1e}"
        cells = " | ".join(shown.format(rows[f"{case} {twin}"][name]) for case, twin in pairs)
        lines.append(f"| {name} | {allowed} | {cells} |")
    return "\n".join(lines)


def put_between(page: str, text: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, marker, after = rest.partition(END)
    if not marker:
        raise ValueError(f"{PAGE} lacks the markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


if __name__ == "__main__":
    main()
