"""YOLO's segmentation layout, as Ultralytics trains on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from cascade_clip.batch.formats.pictures import Placement, place_pictures, remove_left_out
from cascade_clip.batch.journal import JournalEntry
from cascade_clip.batch.labels import Labels
from cascade_clip.batch.segments import Segment
from cascade_clip.data.folder import split_by_name
from cascade_clip.io.files import write_text


def write(labels: Labels, out: Path, placement: Placement) -> None:
    """`images/{train,val}/`, `labels/{train,val}/*.txt` (one polygon a line) and `data.yaml`.

    Validation has what `split_by_name` holds out; a picture that training needs, too, lies in
    `train` alone. The format knows no holes: they are joined to the outline by cuts of no width.
    """
    trained, held_out = map(set, split_by_name(labels.names))
    apart = held_out - trained
    _write_part(labels.without(apart), out, "train", placement)
    _write_part(labels.without(trained), out, "val", placement)
    # Without the key `path`, trainers take the file's own folder.
    data = {
        "train": "images/train",
        "val": "images/val" if apart else "images/train",
        "names": dict(enumerate(labels.classes)),
    }
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    write_text(out / "data.yaml", text)


def _write_part(labels: Labels, out: Path, part: str, placement: Placement) -> None:
    place_pictures(labels, out / "images" / part, placement)
    folder = out / "labels" / part
    remove_left_out(labels, folder)
    for entry, segments in labels.with_segments():
        write_text(folder / f"{entry.name}.txt", _lines(entry, segments, labels))


def _lines(entry: JournalEntry, segments: Sequence[Segment], labels: Labels) -> str:
    lines = []
    for segment in segments:
        corners = labels.outline(segment)
        shares = [f"{x / entry.width:.6f} {y / entry.height:.6f}" for x, y in corners]
        lines.append(f"{segment.label} {' '.join(shares)}\n")
    return "".join(lines)
