"""YOLO's segmentation layout, as Ultralytics trains on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import yaml

from cascade_clip.batch.formats.pictures import Placement, place_pictures, remove_left_out
from cascade_clip.batch.formats.split import split_by_name
from cascade_clip.batch.records import Record, Store
from cascade_clip.batch.segments import without_holes
from cascade_clip.io.files import write_text


def write(store: Store, out: Path, placement: Placement) -> None:
    """`images/{train,val}/`, `labels/{train,val}/*.txt` (one polygon a line) and `data.yaml`.

    Validation has what `split_by_name` holds out; a picture that training needs, too, lies in
    `train` alone. The format knows no holes: they are joined to the outline by cuts of no width.
    """
    trained, held_out = map(set, split_by_name(store.names))
    apart = held_out - trained
    _write_part(_without(store, apart), out, "train", placement)
    _write_part(_without(store, trained), out, "val", placement)
    # Without the key `path`, trainers take the file's own folder.
    data = {
        "train": "images/train",
        "val": "images/val" if apart else "images/train",
        "names": dict(enumerate(store.classes)),
    }
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    write_text(out / "data.yaml", text)


def _without(store: Store, names: set[str]) -> Store:
    return replace(store, left_out=store.left_out | names)


def _write_part(store: Store, out: Path, part: str, placement: Placement) -> None:
    place_pictures(store, out / "images" / part, placement)
    labels = out / "labels" / part
    remove_left_out(store, labels)
    for record in store:
        write_text(labels / f"{record.name}.txt", _lines(record))


def _lines(record: Record) -> str:
    lines = []
    for segment in record.segments:
        corners = without_holes(segment.rings)
        shares = [f"{x / record.width:.6f} {y / record.height:.6f}" for x, y in corners]
        lines.append(f"{segment.label} {' '.join(shares)}\n")
    return "".join(lines)
