"""By what pictures are sorted for a review."""

from __future__ import annotations

import numpy as np
import pytest

from cascade_clip.batch.certainty import expected_iou


def test_the_iou_that_scores_promise() -> None:
    labels = np.array([[0, 0, 0, 2], [-1, -1, -1, -1]], np.int16)
    scores = np.array([[0.5, 1, 1, 0.75], [0, 0, 0, 0]], np.float16)
    assert expected_iou(labels, scores) == pytest.approx((2.5 / 3.25 + 0.75 / 1.5) / 2)


def test_certain_and_empty_pictures() -> None:
    labels = np.array([[0, 1]], np.int16)
    assert expected_iou(labels, np.ones((1, 2))) == 1
    assert expected_iou(labels - 2, np.ones((1, 2))) == 0


def test_the_same_doubt_weighs_more_where_classes_are_small() -> None:
    scores = np.full((10, 10), 0.9)
    one = np.ones((10, 10), np.int16)
    halves, corner = one.copy(), one.copy()
    halves[:5] = 0
    corner[9, 9] = 0
    found = [expected_iou(labels, scores) for labels in (one, halves, corner)]
    assert found == sorted(found, reverse=True) and found[0] == pytest.approx(0.9)
