from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_clip.batch.segments import expected_iou, find_segments
from cascade_clip.io import coco
from cascade_clip.io.coco import decode_mask
from cascade_clip.io.polygons import Ring, fill, without_holes
from cascade_clip.segmentation import LegendEntry, Segmentation
from tests.naive import segments as naive


def segmented(labels: np.ndarray, confidence: np.ndarray | None = None) -> Segmentation:
    names = [f"class {index}" for index in range(max(1, int(labels.max()) + 1))]
    if confidence is None:
        confidence = np.ones(labels.shape)
    return Segmentation(
        labels=labels.astype(np.int16),
        legend=tuple(LegendEntry(name, (name,), (0, 0, 0), 0.0, ()) for name in names),
        image=np.zeros((*labels.shape, 3), dtype=np.uint8),
        confidence=confidence.astype(np.float16),
    )


def signed_area(ring: Ring) -> float:
    x, y = np.array(ring).T
    return float(0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 24), st.integers(1, 24), st.integers(1, 3))
def test_segments_divide_the_labels_among_them(
    seed: int, height: int, width: int, classes: int
) -> None:
    labels = np.random.default_rng(seed).integers(-1, classes, (height, width))
    found = find_segments(segmented(labels), min_area=1)
    painted = np.full((height, width), -1)
    for segment in found:
        mask = decode_mask(segment.rle)
        assert (painted[mask] == -1).all()
        assert mask.sum() == segment.area
        painted[mask] = segment.label
        area = sum(signed_area(ring) for ring in segment.rings)
        joined = without_holes(segment.rings)
        assert signed_area(joined) == pytest.approx(area)
        assert (fill(joined, height, width) == mask).all()
    assert (painted == labels).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 24), st.integers(1, 24), st.integers(1, 9))
def test_segments_are_those_of_masks_of_the_whole_picture(
    seed: int, height: int, width: int, min_area: int
) -> None:
    random = np.random.default_rng(seed)
    result = segmented(random.integers(-1, 2, (height, width)), random.random((height, width)))
    assert find_segments(result, min_area) == naive.find_segments(result, min_area)


def test_small_pieces_cost_no_mask_of_the_whole_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    coded: list[tuple[int, ...]] = []

    def run_lengths(mask: np.ndarray) -> list[int]:
        coded.append(mask.shape)
        return original(mask)

    original = coco.run_lengths
    monkeypatch.setattr(coco, "run_lengths", run_lengths)
    labels = np.full((20, 30), -1)
    labels[::4, ::4] = 0
    labels[5:8, 5:9] = 0
    assert len(find_segments(segmented(labels), min_area=2)) == 1
    assert coded == [(20, 4)]


def test_a_ring_around_a_pool() -> None:
    labels = np.zeros((7, 9), dtype=int)
    labels[2:5, 3:6] = 1
    ring, pool = find_segments(segmented(labels), min_area=1)
    assert (ring.label, ring.area, ring.bbox) == (0, 63 - 9, (0, 0, 9, 7))
    assert (pool.label, pool.area, pool.bbox) == (1, 9, (3, 2, 3, 3))
    assert [len(segment.rings) for segment in (ring, pool)] == [2, 1]


def test_small_pieces_are_no_segments_and_background_is_none() -> None:
    labels = np.full((6, 6), -1)
    labels[0, 0] = 0
    labels[3:6, 3:6] = 0
    (only,) = find_segments(segmented(labels), min_area=2)
    assert only.area == 9


def test_confidence_is_the_mean_score_of_the_segment_alone() -> None:
    labels = np.array([[0, 0, 1, 1]])
    found = find_segments(segmented(labels, np.array([[0.5, 0.75, 0.25, 0.25]])), min_area=1)
    assert [segment.confidence for segment in found] == [0.625, 0.25]


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
