"""Sections of a report, and the page around them."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.evaluation.examples import Example
from cascade_clip.evaluation.metrics import Metrics, SegmentationMetrics
from cascade_clip.report import html
from cascade_clip.report.sections import (
    classes_section,
    curves_section,
    group_scores,
    metrics_section,
    percent,
    pictures_section,
    read_history,
    settings_section,
    write_report,
)

CLASSES = ClassSet(("cat", "car", "sky", "<b>&"), unseen=("cat", "<b>&"))
EVIL = "<script>alert('x')</script>"


class Page(HTMLParser):
    """Notes tags, texts and addresses, and that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def measured(shift: int) -> Metrics:
    truth = torch.arange(64).reshape(8, 8) % 4
    metrics = SegmentationMetrics(CLASSES.names, CLASSES.unseen)
    metrics.update(torch.where(torch.arange(64).reshape(8, 8) < shift, 0, truth), truth)
    return metrics.compute()


def example(right: float) -> Example:
    truth = np.zeros((10, 10), dtype=np.int64)
    truth[0] = 255
    predicted = np.zeros((10, 10), dtype=np.int64)
    predicted[round(1 + 9 * right) :] = 1
    image = np.full((10, 10, 3), 77, dtype=np.uint8)
    return Example(f"{right}", image, truth, {"ours": predicted})


def test_a_whole_page_is_well_formed_loads_nothing_and_escapes(tmp_path: Path) -> None:
    rows = {EVIL: measured(4), "raw CLIP": measured(30)}
    sections = [
        metrics_section(rows, CLASSES, {EVIL: ["cat", "car"]}),
        classes_section({"ours": rows[EVIL]}, CLASSES),
        curves_section({EVIL: [{"step": 1, "loss": 2.0}, {"step": 2, "val_S": 0.5}]}),
        pictures_section(EVIL, EVIL, [example(0.5)], CLASSES, errors_of="ours"),
        settings_section({EVIL: {"a": {EVIL: EVIL}}}, {EVIL: 1.0}, {"python": EVIL}),
        html.cards([html.figure(Image.new("RGB", (4, 4)), EVIL)]),
        html.command(EVIL),
    ]
    path = write_report(tmp_path / "report.html", EVIL, EVIL, sections)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert len(page.addresses) >= 7
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)


def test_it_says_what_the_means_are_over() -> None:
    classes = ClassSet(("cat", "car", "sky", "key"), unseen=("cat", "key"))
    truth = torch.tensor([0, 0, 1, 1])

    def row(predicted: list[int]) -> Metrics:
        metrics = SegmentationMetrics(classes.names, classes.unseen)
        metrics.update(torch.tensor(predicted), truth)
        return metrics.compute()

    alike = metrics_section({"a": row([0, 0, 1, 1]), "b": row([1, 1, 0, 0])}, classes)
    assert "S is over 1 of 2 seen classes, U over 1 of 2 unseen ones." in alike
    assert "a: " not in alike and "not in the truth, so" not in alike
    apart = metrics_section({"a": row([0, 0, 1, 1]), "b": row([0, 2, 3, 1])}, classes)
    assert "a: S is over 1 of 2 seen classes, U over 1 of 2 unseen ones." in apart
    assert "b: S is over 2 of 2 seen classes, U over 2 of 2 unseen ones." in apart
    assert "b: Predicted, but not in the truth, so that the IoU is 0: sky, key." in apart
    assert "the 2 seen and 2 unseen classes" in metrics_section({"ours": measured(4)}, CLASSES)


def test_the_best_number_of_each_column_is_bold() -> None:
    text = html.table(["method", "x", "y"], [["a", "9.5", "–"], ["b", "10.0", "3.0"]], best=True)
    assert re.findall(r'<td class="best">([^<]*)', text) == ["10.0", "3.0"]
    assert "best" not in html.table(["m", "x"], [["a", "9.5"]], best=True)


def test_group_scores_are_means_over_their_classes() -> None:
    iou = {"cat": 0.4, "car": 0.8, "sky": 0.6, "key": math.nan}
    metrics = Metrics(0.9, 0.6, 0.7, 0.4, 0.5, iou)
    both = group_scores(metrics, ["cat", "car", "key"], ["cat"])
    assert (both.seen, both.unseen) == (0.8, 0.4)
    assert both.harmonic == pytest.approx(2 * 0.8 * 0.4 / 1.2)
    assert math.isnan(group_scores(metrics, ["sky"], ["cat"]).unseen)


def test_accuracy_leaves_out_ignored_pixels() -> None:
    assert example(1 / 3).accuracy("ours") == pytest.approx(1 / 3)
    blank = Example(
        "x", np.zeros((2, 2, 3), np.uint8), np.full((2, 2), 255), {"a": np.zeros((2, 2))}
    )
    assert math.isnan(blank.accuracy("a"))


def test_history_drops_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss,val_h\n20,1.5,\n40,,0.25\n")
    assert read_history(path) == [{"step": 20, "loss": 1.5}, {"step": 40, "val_h": 0.25}]


def test_small_helpers() -> None:
    assert percent(0.1234) == "12.3"
    assert percent(math.nan) == "–"


def test_an_unwritable_report_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't write"):
        write_report(tmp_path / "file" / "report.html", "t", "l", [])
