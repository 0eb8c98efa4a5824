"""Label Studio's tasks with predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

from cascade_clip.batch.formats.pictures import Placement, picture_file, place_pictures
from cascade_clip.batch.records import Record, Store
from cascade_clip.batch.segments import without_holes
from cascade_clip.io.files import write_text, write_whole
from cascade_clip.io.palette import to_hex

LOCAL_FILES = "/data/local-files/?d=images/"
"""How Label Studio addresses files below its LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT."""


def write(store: Store, out: Path, placement: Placement) -> None:
    """`images/`, `tasks.json` (each picture with its polygons as a prediction) and `config.xml`
    (the labelling interface).

    Start Label Studio with local files served from the folder `out`.
    """
    place_pictures(store, out / "images", placement)
    write_whole(out / "tasks.json", lambda path: _write_tasks(store, path))
    write_text(out / "config.xml", _config(store))


def _write_tasks(store: Store, path: Path) -> None:
    """Task by task: a large data set need not fit into memory."""
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number, record in enumerate(store):
            file.write((",\n" if number else "\n") + json.dumps(_task(record, store)))
        file.write("\n]\n")


def _task(record: Record, store: Store) -> dict[str, Any]:
    results = []
    for number, segment in enumerate(record.segments):
        corners = without_holes(segment.rings)
        percent = [[100 * x / record.width, 100 * y / record.height] for x, y in corners]
        results.append(
            {
                "id": f"{record.name}-{number}",
                "type": "polygonlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": record.width,
                "original_height": record.height,
                "image_rotation": 0,
                "score": segment.confidence,
                "value": {
                    "points": percent,
                    "closed": True,
                    "polygonlabels": [store.classes[segment.label]],
                },
            }
        )
    prediction = {"model_version": "cascade-clip", "score": record.confidence, "result": results}
    return {"data": {"image": LOCAL_FILES + picture_file(record)}, "predictions": [prediction]}


def _config(store: Store) -> str:
    view = Xml.Element("View")
    Xml.SubElement(view, "Image", name="image", value="$image", zoom="true")
    labels = Xml.SubElement(view, "PolygonLabels", name="label", toName="image", strokeWidth="2")
    for name, colour in zip(store.classes, store.colours, strict=True):
        Xml.SubElement(labels, "Label", value=name, background=to_hex(colour))
    Xml.indent(view)
    return Xml.tostring(view, encoding="unicode") + "\n"
