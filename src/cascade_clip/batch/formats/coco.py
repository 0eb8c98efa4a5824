"""COCO's layout, as CVAT, Label Studio and FiftyOne import it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cascade_clip.batch.formats.pictures import Placement, picture_file, place_pictures
from cascade_clip.batch.records import Store
from cascade_clip.io.files import write_whole


def write(store: Store, out: Path, placement: Placement) -> None:
    """`images/` and `annotations/instances_default.json`: one annotation for each segment, with its
    run-length code and `score`; categories are numbered from 1."""
    place_pictures(store, out / "images", placement)
    write_whole(out / "annotations/instances_default.json", lambda path: _write_json(store, path))


def _write_json(store: Store, path: Path) -> None:
    """Piece by piece: a large data set need not fit into memory."""
    categories = [
        {"id": index, "name": name, "supercategory": ""}
        for index, name in enumerate(store.classes, start=1)
    ]
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"categories": {json.dumps(categories)},\n"images": [')
        _write_list(file, _images(store))
        file.write('],\n"annotations": [')
        _write_list(file, _annotations(store))
        file.write("]}\n")


def _write_list(file: Any, items: Iterator[dict[str, Any]]) -> None:
    for number, item in enumerate(items):
        file.write((",\n" if number else "\n") + json.dumps(item))


def _images(store: Store) -> Iterator[dict[str, Any]]:
    for number, record in enumerate(store, start=1):
        yield {
            "id": number,
            "file_name": picture_file(record),
            "width": record.width,
            "height": record.height,
        }


def _annotations(store: Store) -> Iterator[dict[str, Any]]:
    number = 0
    for image, record in enumerate(store, start=1):
        for segment in record.segments:
            number += 1
            yield {
                "id": number,
                "image_id": image,
                "category_id": segment.label + 1,
                "segmentation": segment.rle,
                "area": segment.area,
                "bbox": segment.bbox,
                "iscrowd": 0,
                "score": round(segment.confidence, 4),
            }
