"""Masks as COCO run-length codes and COCO records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, TypedDict

import numpy as np
import numpy.typing as npt

from cascade_clip.io.files import write_whole

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
    height, width = rle["size"]
    return from_run_lengths(decompress(rle["counts"]), height, width)


def from_run_lengths(counts: Sequence[int], height: int, width: int) -> Mask:
    """The mask (H, W) that has these `run_lengths`. Raises `ValueError` if they are of another
    size."""
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(f"runs of {sum(counts)} pixels, for {height} x {width}")
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


def annotation(label: int, rle: RLE, area: int, bbox: Sequence[int]) -> dict[str, Any]:
    """An annotation without ids, of the class with index `label`."""
    return {
        "category_id": label + 1,
        "segmentation": rle,
        "area": area,
        "bbox": bbox,
        "iscrowd": 0,
    }


def mask_annotations(masks: Iterable[tuple[int, Mask]]) -> list[dict[str, Any]]:
    """Annotations of one picture, one for each (class index, mask) with any pixel."""
    found = [(label, mask) for label, mask in masks if mask.any()]
    return [
        {"id": number, "image_id": 1}
        | annotation(label, encode_mask(mask), int(mask.sum()), bounding_box(mask))
        for number, (label, mask) in enumerate(found, start=1)
    ]


def categories(names: Iterable[str]) -> list[dict[str, Any]]:
    """The classes, numbered from 1."""
    return [
        {"id": number, "name": name, "supercategory": ""}
        for number, name in enumerate(names, start=1)
    ]


def write(
    path: Path,
    names: Iterable[str],
    images: Iterable[tuple[str, int, int]],
    annotations: Iterable[Iterable[Mapping[str, Any]]],
) -> None:
    """One file for many pictures, written piece by piece: a large data set need not fit into
    memory.

    `names` are those of the classes, `images` (file name, height, width), and `annotations`, in
    the same order, what `annotation` gives of each. Raises `UserError`.
    """
    numbered = (
        {"id": number, "file_name": file_name, "height": height, "width": width}
        for number, (file_name, height, width) in enumerate(images, start=1)
    )
    of_images = ((image, one) for image, of in enumerate(annotations, start=1) for one in of)
    with_ids = (
        {"id": number, "image_id": image} | {**one}
        for number, (image, one) in enumerate(of_images, start=1)
    )

    def write_json(target: Path) -> None:
        with target.open("w", encoding="utf-8") as file:
            file.write(f'{{"categories": {json.dumps(categories(names))},\n"images": [')
            _write_list(file, numbered)
            file.write('],\n"annotations": [')
            _write_list(file, with_ids)
            file.write("]}\n")

    write_whole(path, write_json)


def _write_list(file: TextIO, items: Iterable[Mapping[str, Any]]) -> None:
    for number, item in enumerate(items):
        file.write((",\n" if number else "\n") + json.dumps(item))
