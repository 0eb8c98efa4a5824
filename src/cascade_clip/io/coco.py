"""Masks as COCO run-length codes and COCO records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
"""(H, W)"""


class RLE(TypedDict):
    """COCO's run-length code: `size` is [H, W], `counts` the compressed string."""

    size: list[int]
    counts: str


def run_lengths(mask: Mask) -> list[int]:
    """Lengths of alternating runs of False and True down the columns; the first run is of False and
    may be 0."""
    flat = np.concatenate([[False], mask.ravel(order="F")])  # starts False by definition
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    edges = np.concatenate([[0], starts, [mask.size]])
    return [int(length) for length in np.diff(edges)]


def encode_mask(mask: Mask) -> RLE:
    """The mask (H, W) as COCO's compressed run-length code, as pycocotools writes it."""
    return {"size": [int(side) for side in mask.shape], "counts": compress(run_lengths(mask))}


def decode_mask(rle: RLE) -> Mask:
    """The mask (H, W) of a compressed run-length code."""
    counts = decompress(rle["counts"])
    height, width = rle["size"]
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")


def compress(counts: Sequence[int]) -> str:
    """COCO's string: each count (from the fourth on its difference to the one two before) in groups
    of 5 bits, lowest first, bit 6 for "more follows", each plus 48 as a character."""
    characters: list[str] = []
    for position, count in enumerate(counts):
        value = count - counts[position - 2] if position > 2 else count
        more = True
        while more:
            group = value & 0x1F
            value >>= 5
            # Done when what is left only repeats the sign bit of this group.
            more = value != (-1 if group & 0x10 else 0)
            characters.append(chr(48 + (group | 0x20 if more else group)))
    return "".join(characters)


def decompress(text: str) -> list[int]:
    """The counts behind COCO's string."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return counts


def bounding_box(mask: Mask) -> list[int]:
    """[left, top, width, height] in pixels; all 0 for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return [0, 0, 0, 0]
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


def mask_annotations(
    masks: Iterable[tuple[int, Mask]], image_id: int = 1, first_id: int = 1
) -> list[dict[str, Any]]:
    """COCO annotations, one for each (category id, mask) with any pixel."""
    records: list[dict[str, Any]] = []
    for category_id, mask in masks:
        area = int(mask.sum())
        if area:
            records.append(
                {
                    "id": first_id + len(records),
                    "image_id": image_id,
                    "category_id": category_id,
                    "segmentation": encode_mask(mask),
                    "area": area,
                    "bbox": bounding_box(mask),
                    "iscrowd": 0,
                }
            )
    return records


def merge(files: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several COCO records over the same categories as one, ids counted anew."""
    images: list[dict[str, Any]] = []
    merged: list[dict[str, Any]] = []
    for record in files:
        for image in record["images"]:
            new_id = len(images) + 1
            images.append({**image, "id": new_id})
            for annotation in record["annotations"]:
                if annotation["image_id"] == image["id"]:
                    merged.append({**annotation, "id": len(merged) + 1, "image_id": new_id})
    categories = files[0]["categories"] if files else []
    return {"images": images, "annotations": merged, "categories": categories}
