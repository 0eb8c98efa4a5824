from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cascade_clip.checkpoint.folder import Bundle, load_bundle
from cascade_clip.data.factory import open_dataset
from cascade_clip.evaluation.examples import Example
from cascade_clip.evaluation.findings import Accuracies
from cascade_clip.evaluation.measure import RAW_CLIP, measure
from cascade_clip.report.run_report import LONGEST_SIDE, _shrunk, write_run_report


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle("picturebook")


def test_accuracies_follow_the_order_of_the_pictures() -> None:
    watch = Accuracies()
    truth = torch.tensor([[[0, 1]], [[1, 255]], [[255, 255]]])  # (3, 1, 2)
    watch(torch.tensor([[[0, 0]], [[1, 1]], [[0, 0]]]), truth)
    watch(torch.tensor([[[1, 0]]]), torch.tensor([[[0, 1]]]))
    assert watch.values[:2] == [0.5, 1.0] and math.isnan(watch.values[2])
    assert watch.worst(2) == [3, 0]
    assert watch.best(9) == [1, 0, 3]


def test_the_page_holds_metrics_pictures_and_settings(bundle: Bundle, tmp_path: Path) -> None:
    pictures = open_dataset(bundle.recipe.data, "test", 4)
    found = measure(bundle, bundle.recipe, pictures, raw_clip=True, quiet=True)
    assert list(found.rows) == [bundle.recipe.name, RAW_CLIP]
    assert len(found.accuracies.values) == 4
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.csv").write_text("step,loss,val_S\n1,2.5,\n2,1.5,0.5\n", encoding="utf-8")
    page = write_run_report(tmp_path / "report.html", found, run).read_text(encoding="utf-8")
    for part in ("Results", "Per class", "Worst pictures", "Best pictures", "Training", "Settings"):
        assert part in page
    assert RAW_CLIP in page and "things S" in page
    assert 'src="http' not in page and 'href="http' not in page


def test_large_pictures_are_shown_small() -> None:
    height, width = 300, 4 * LONGEST_SIDE
    labels = np.zeros((height, width), dtype=np.int64)
    labels[:, width // 2 :] = 300
    shown = _shrunk(Example("a", np.zeros((height, width, 3), np.uint8), labels, {"m": labels}))
    assert shown.truth.shape == shown.image.shape[:2] == (75, LONGEST_SIDE)
    assert set(np.unique(shown.truth)) == {0, 300}
    assert (shown.predictions["m"] == shown.truth).all()
