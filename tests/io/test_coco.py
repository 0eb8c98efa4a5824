"""COCO run-length codes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cascade_clip.io import coco

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_encoding_comes_back(mask: np.ndarray) -> None:
    assert np.array_equal(coco.decode_mask(coco.encode_mask(mask)), mask)


@given(st.lists(st.integers(0, 10**7), max_size=30))
def test_the_string_comes_back(counts: list[int]) -> None:
    assert coco.decompress(coco.compress(counts)) == counts


def test_runs_go_down_the_columns_and_start_with_false() -> None:
    mask = np.array([[1, 0, 0], [1, 1, 0]], dtype=bool)
    assert coco.run_lengths(mask) == [0, 2, 1, 1, 2]


def test_the_string_is_that_of_the_coco_tools() -> None:
    # By hand: 5 -> "5"; 40 = 8 + 32 -> 8|32 and 1 -> "X1"; 3 -> "3"; 38 - 40 = -2 -> 30 -> "N".
    assert coco.compress([5, 40, 3, 38]) == "5X13N"


def test_bounding_box() -> None:
    mask = np.zeros((6, 9), dtype=bool)
    assert coco.bounding_box(mask) == [0, 0, 0, 0]
    mask[2:5, 3] = mask[4, 7] = True
    assert coco.bounding_box(mask) == [3, 2, 5, 3]


def test_annotations_leave_out_empty_masks_and_count_area() -> None:
    full, empty = np.ones((2, 3), dtype=bool), np.zeros((2, 3), dtype=bool)
    (record,) = coco.mask_annotations([(1, empty), (2, full)])
    assert (record["category_id"], record["area"], record["id"]) == (2, 6, 1)


def test_merge_counts_ids_anew() -> None:
    def record(name: str) -> dict[str, object]:
        return {
            "images": [{"id": 1, "file_name": name}],
            "annotations": coco.mask_annotations([(1, np.ones((2, 2), dtype=bool))]),
            "categories": [{"id": 1, "name": "cat"}],
        }

    merged = coco.merge([record("a"), record("b")])
    assert [image["id"] for image in merged["images"]] == [1, 2]
    assert [(a["id"], a["image_id"]) for a in merged["annotations"]] == [(1, 1), (2, 2)]
    assert merged["categories"] == [{"id": 1, "name": "cat"}]


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1)])
def test_thin_masks(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(shape) > 0.5
    assert np.array_equal(coco.decode_mask(coco.encode_mask(mask)), mask)
