"""Tables say what their numbers hide."""

from __future__ import annotations

import torch
from rich.console import Console

from cascade_clip.cli.tables import class_table, summary_table
from cascade_clip.data.classes import ClassSet
from cascade_clip.evaluation.metrics import Metrics, SegmentationMetrics

CLASSES = ClassSet(("sea", "boat", "cat"), ("cat",))


def measured(predicted: list[int], truth: list[int]) -> dict[str, Metrics]:
    metrics = SegmentationMetrics(CLASSES.names, CLASSES.unseen)
    metrics.update(torch.tensor(predicted), torch.tensor(truth))
    return {"model": metrics.compute()}


def shown(rows: dict[str, Metrics]) -> tuple[str, str]:
    console = Console(width=100)
    tables = summary_table(rows), class_table(rows, CLASSES)
    texts = []
    for table in tables:
        with console.capture() as capture:
            console.print(table)
        texts.append(" ".join(capture.get().split()))
    return texts[0], texts[1]


def test_a_class_that_is_absent_but_predicted_is_marked() -> None:
    summary, classes = shown(measured([0, 0, 1], [0, 0, 0]))
    assert "│ boat │ seen │ 0.0* │" in classes and "│ cat │ unseen │ - │" in classes
    assert "* in no mask, but predicted" in classes
    assert "no pixel counts" not in summary
    assert "predicted" not in shown(measured([0, 1], [0, 1]))[1]


def test_masks_without_a_class_are_said_to_be_so() -> None:
    summary, _ = shown(measured([0, 1, 2], [255, 255, 255]))
    assert "no pixel counts: the masks hold no class" in summary
