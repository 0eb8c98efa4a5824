"""Label Studio's tasks with predictions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as Xml

from cascade_clip.batch.formats.pictures import Placement, picture_paths, place_pictures
from cascade_clip.batch.journal import JournalEntry
from cascade_clip.batch.labels import Labels
from cascade_clip.batch.segments import Segment
from cascade_clip.io.files import write_text, write_whole
from cascade_clip.io.palette import to_hex

LOCAL_FILES = "/data/local-files/?d="
"""How Label Studio addresses files below its LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT."""


def write(labels: Labels, out: Path, placement: Placement) -> None:
    """`images/`, `tasks.json` (each picture with its polygons as a prediction) and `config.xml`
    (the labelling interface).

    Start Label Studio with local files served from the folder `out`.
    """
    paths = picture_paths(labels.journal)
    place_pictures(labels, out / "images", placement, paths=paths)
    write_whole(out / "tasks.json", lambda path: _write_tasks(labels, paths, path))
    write_text(out / "config.xml", _config(labels))


def _write_tasks(labels: Labels, paths: Mapping[str, str], path: Path) -> None:
    """Task by task: a large data set need not fit into memory."""
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, (entry, segments) in enumerate(labels.with_segments()):
            url = LOCAL_FILES + quote(f"images/{paths[entry.name]}")
            task = _task(url, entry, segments, labels)
            file.write((",\n" if number else "\n") + json.dumps(task))
        file.write("\n]\n")


def _task(
    url: str, entry: JournalEntry, segments: Sequence[Segment], labels: Labels
) -> dict[str, Any]:
    results = []
    for number, segment in enumerate(segments):
        corners = labels.outline(segment)
        percent = [[100 * x / entry.width, 100 * y / entry.height] for x, y in corners]
        results.append(
            {
                "id": f"{entry.name}-{number}",
                "type": "polygonlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": entry.width,
                "original_height": entry.height,
                "image_rotation": 0,
                "score": segment.confidence,
                "value": {
                    "points": percent,
                    "closed": True,
                    "polygonlabels": [labels.classes[segment.label]],
                },
            }
        )
    prediction = {"model_version": "cascade-clip", "score": entry.confidence, "result": results}
    return {"data": {"image": url}, "predictions": [prediction]}


def _config(labels: Labels) -> str:
    view = Xml.Element("View")
    Xml.SubElement(view, "Image", name="image", value="$image", zoom="true")
    buttons = Xml.SubElement(view, "PolygonLabels", name="label", toName="image", strokeWidth="2")
    for name, colour in zip(labels.classes, labels.colours, strict=True):
        Xml.SubElement(buttons, "Label", value=name, background=to_hex(colour))
    Xml.indent(view)
    return Xml.tostring(view, encoding="unicode") + "\n"
