"""YOLO's segmentation layout, as Ultralytics trains on it."""

from __future__ import annotations

from pathlib import Path

import yaml

from cascade_clip.files import write_text
from cascade_clip.labelling.formats.pictures import Placement, place_pictures, remove_left_out
from cascade_clip.labelling.records import Record, Store
from cascade_clip.labelling.segments import without_holes


def write(store: Store, out: Path, placement: Placement) -> None:
    """`images/train/`, `labels/train/*.txt` (one polygon a line) and `data.yaml`.

    The format knows no holes: they are joined to the outline by cuts of no width.
    """
    place_pictures(store, out / "images/train", placement)
    remove_left_out(store, out / "labels/train")
    for record in store:
        write_text(out / "labels/train" / f"{record.name}.txt", _lines(record))
    data = {
        "path": ".",
        "train": "images/train",
        "val": "images/train",
        "names": dict(enumerate(store.classes)),
    }
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    write_text(out / "data.yaml", text)


def _lines(record: Record) -> str:
    lines = []
    for segment in record.segments:
        corners = without_holes(segment.rings)
        shares = [f"{x / record.width:.6f} {y / record.height:.6f}" for x, y in corners]
        lines.append(f"{segment.label} {' '.join(shares)}\n")
    return "".join(lines)
