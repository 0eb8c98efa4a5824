"""How well measures of certainty find the worst labels: a table of docs/labelling.md.

    python -m benchmarks.review_order [--scenes 100] [--page FILE]

For drawn scenes, labelled by the embedded model (sigmoid scores) and by its CLIP without training
(softmax): the rank correlation of each measure with the true mIoU of a picture, and the mIoU of the
tenth of the pictures that it puts first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.pages import fill
from numpy.typing import NDArray
from scipy.stats import spearmanr

from cascade_clip import Segmenter
from cascade_clip.batch.segments import expected_iou
from cascade_clip.evaluation.metrics import SegmentationMetrics
from cascade_clip.picturebook import draw_scene
from cascade_clip.picturebook.contents import CLASSES

BOOK, SIDE = 7, 100
MODELS: Mapping[str, Callable[[], Segmenter]] = {
    "embedded model": Segmenter.from_pretrained,
    "its CLIP alone": lambda: Segmenter.from_clip("picturebook"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--page", type=Path, default=Path("docs/labelling.md"))
    options = parser.parse_args()
    columns = [compare(segmenter(), options.scenes) for segmenter in MODELS.values()]
    lines = [
        f"| | {' | | '.join(MODELS)} | |",
        "|---|---|---|---|---|",
        "| measure of certainty" + " | rank correlation | mIoU of the first tenth" * 2 + " |",
    ]
    for name in columns[0]:
        lines.append(f"| {name} | {' | '.join(column[name] for column in columns)} |")
    fill(options.page, "review", "\n".join(lines))


def compare(segmenter: Segmenter, scenes: int) -> dict[str, str]:
    """Rank correlation and mIoU of the first tenth, by measure."""
    query = segmenter.query(CLASSES)
    truth, found = [], []
    for number in range(scenes):
        scene = draw_scene(BOOK, number, SIDE)
        result = segmenter.segment(scene.image, query)
        assert result.confidence is not None
        truth.append(miou(result.labels, scene.mask))
        found.append(measures(result.labels, result.confidence.astype(float), result.scores))
    mious = np.array(truth)
    cells = {"(any ten pictures)": f" | {100 * mious.mean():.1f}"}
    for name in found[0]:
        values = np.array([one[name] for one in found])
        first = values.argsort(kind="stable")[: scenes // 10]
        correlation = float(spearmanr(values, mious).statistic)
        cells[name] = f"{correlation:.2f} | {100 * mious[first].mean():.1f}"
    return cells


def measures(
    labels: NDArray[np.int16], confidence: NDArray[Any], scores: NDArray[np.float32]
) -> dict[str, float]:
    """Of labels and winning scores (H, W), and of all scores (C, H, W)."""
    second, first = np.sort(scores, axis=0)[-2:]
    margin = first - second
    shares = scores / scores.sum(axis=0)
    there = np.unique(labels)
    both = [(shares[c][labels == c].sum(), (labels == c).sum() + shares[c].sum()) for c in there]
    return {
        "mean score": confidence.mean(),
        "mean margin to the second": margin.mean(),
        "lowest tenth of the margins": np.quantile(margin, 0.1),
        "mean over classes of the mean score": np.mean(
            [confidence[labels == c].mean() for c in there]
        ),
        "**expected IoU** (what `label` takes)": expected_iou(labels, confidence),
        "expected IoU from the scores of all classes": np.mean([s / (t - s) for s, t in both]),
    }


def miou(labels: NDArray[np.int16], mask: NDArray[np.uint8]) -> float:
    metrics = SegmentationMetrics(CLASSES, unseen=())
    metrics.update(torch.from_numpy(labels), torch.from_numpy(mask))
    return metrics.compute().miou


if __name__ == "__main__":
    main()
