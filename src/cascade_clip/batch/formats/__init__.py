"""Labelled pictures in the layouts that annotation tools and trainers read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from cascade_clip.batch.formats import coco, cvat, labelstudio, tables, voc, yolo
from cascade_clip.batch.formats.pictures import Placement
from cascade_clip.batch.labels import Labels

WRITERS: Mapping[str, Callable[[Labels, Path, Placement], None]] = {
    "voc": voc.write,
    "coco": coco.write,
    "yolo-seg": yolo.write,
    "cvat": cvat.write,
    "labelstudio": labelstudio.write,
    "jsonl": tables.write_jsonl,
    "parquet": tables.write_parquet,
}
"""By the name of the format: writes labels into a folder."""
