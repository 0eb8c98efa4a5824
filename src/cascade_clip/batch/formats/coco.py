"""COCO's layout, as CVAT, Label Studio and FiftyOne import it."""

from __future__ import annotations

from pathlib import Path

from cascade_clip.batch.formats.pictures import Placement, picture_paths, place_pictures
from cascade_clip.batch.journal import Journal
from cascade_clip.batch.labels import Labels
from cascade_clip.io import coco
from cascade_clip.io.find import is_video
from cascade_clip.io.results import COCO_FILE


def write(labels: Labels, out: Path, placement: Placement) -> None:
    """`images/` and `annotations/instances_default.json`: one annotation for each segment, with its
    run-length code and `score`; categories are numbered from 1."""
    paths = picture_paths(labels.journal)
    place_pictures(labels, out / "images", placement, paths=paths)
    coco.write(
        out / "annotations/instances_default.json",
        labels.classes,
        ((paths[entry.name], entry.height, entry.width) for entry in labels.entries),
        ([one.annotation() for one in segments] for segments in labels.segments()),
    )


def write_coco_file(journal: Journal) -> None:
    """`coco.json` beside the journal: pictures with the format `coco`, called as their own files;
    those of equal file names go by the names of their results. Raises `UserError`."""
    file_names: dict[str, str] = {}
    taken: set[str] = set()
    for entry in journal.entries.values():
        if "coco" in entry.formats:
            source = Path(entry.source)
            called = f"{entry.name}.png" if is_video(source) else source.name
            if called in taken:
                called = entry.name + source.suffix
            taken.add(called)
            file_names[entry.name] = called
    if file_names:
        entries = [journal.entries[name] for name in file_names]
        coco.write(
            journal.folder / COCO_FILE,
            journal.classes,
            ((file_names[entry.name], entry.height, entry.width) for entry in entries),
            ([one.annotation() for one in found or ()] for found in journal.segments(file_names)),
        )
