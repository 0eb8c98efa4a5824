"""COCO run-length codes, held against pycocotools."""

from pathlib import Path

import numpy as np
import pycocotools.coco
import pycocotools.mask
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cascade_clip.io import coco

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))


def column_major(mask: np.ndarray) -> np.ndarray:
    return np.asfortranarray(mask, dtype=np.uint8)


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_codes_are_those_of_pycocotools(mask: np.ndarray) -> None:
    theirs = pycocotools.mask.encode(column_major(mask))
    ours = coco.encode_mask(mask)
    assert ours == {"size": theirs["size"], "counts": theirs["counts"].decode()}
    assert np.array_equal(coco.decode_mask(ours), mask)


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_areas_and_boxes_are_those_of_pycocotools(mask: np.ndarray) -> None:
    theirs = pycocotools.mask.encode(column_major(mask))
    records = coco.mask_annotations([(1, mask)])
    assert len(records) == bool(mask.any())
    for record in records:
        assert record["area"] == pycocotools.mask.area(theirs)
        assert record["bbox"] == pycocotools.mask.toBbox(theirs).tolist()


@given(st.lists(st.integers(0, 10**7), max_size=30))
def test_strings_of_any_counts_come_back(counts: list[int]) -> None:
    assert coco.decompress(coco.compress(counts)) == counts


def test_runs_go_down_the_columns_and_start_with_false() -> None:
    mask = np.array([[1, 0, 0], [1, 1, 0]], dtype=bool)
    assert coco.run_lengths(mask) == [0, 2, 1, 1, 2]


def test_the_string_is_that_of_the_coco_tools() -> None:
    # By hand: 5 -> "5"; 40 = 8 + 32 -> 8|32 and 1 -> "X1"; 3 -> "3"; 38 - 40 = -2 -> 30 -> "N".
    assert coco.compress([5, 40, 3, 38]) == "5X13N"


def test_annotations_leave_out_empty_masks_and_count_area() -> None:
    full, empty = np.ones((2, 3), dtype=bool), np.zeros((2, 3), dtype=bool)
    (record,) = coco.mask_annotations([(0, empty), (1, full)])
    assert (record["category_id"], record["area"], record["id"]) == (2, 6, 1)


def test_pycocotools_reads_files_of_many_pictures(tmp_path: Path) -> None:
    masks = [np.random.default_rng(seed).random((9, 7)) > 0.5 for seed in range(3)]
    codes = [coco.encode_mask(mask) for mask in masks]
    found = [
        coco.annotation(label, code, int(mask.sum()), coco.bounding_box(mask))
        for label, (code, mask) in enumerate(zip(codes, masks, strict=True))
    ]
    file = tmp_path / "coco.json"
    images = ((f"{number}.png", 9, 7) for number in range(3))
    coco.write(file, ["cat", "고양이", "sky"], images, [found[:2], [], found[2:]])
    read = pycocotools.coco.COCO(file)
    assert [(one["id"], one["name"]) for one in read.dataset["categories"]] == [
        (1, "cat"), (2, "고양이"), (3, "sky"),
    ]  # fmt: skip
    assert [(one["id"], one["file_name"]) for one in read.dataset["images"]] == [
        (1, "0.png"), (2, "1.png"), (3, "2.png"),
    ]  # fmt: skip
    ids = [(one["id"], one["image_id"], one["category_id"]) for one in read.anns.values()]
    assert ids == [(1, 1, 1), (2, 1, 2), (3, 3, 3)]
    for number, mask in enumerate(masks, start=1):
        assert np.array_equal(read.annToMask(read.anns[number]), mask)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1)])
def test_thin_masks(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(shape) > 0.5
    theirs = pycocotools.mask.encode(column_major(mask))
    assert coco.encode_mask(mask)["counts"] == theirs["counts"].decode()
