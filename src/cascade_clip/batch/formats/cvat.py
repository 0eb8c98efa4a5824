"""CVAT's own XML ("CVAT for images 1.1")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as Xml

from cascade_clip.batch.formats.pictures import Placement, picture_paths, place_pictures
from cascade_clip.batch.journal import JournalEntry
from cascade_clip.batch.labels import Labels
from cascade_clip.batch.segments import Segment
from cascade_clip.io.files import write_whole
from cascade_clip.io.palette import to_hex


def write(labels: Labels, out: Path, placement: Placement) -> None:
    """`images/` and `annotations.xml`: polygons with an attribute `confidence`.

    CVAT's polygons know no holes: they are joined to the outline by cuts of no width.
    """
    paths = picture_paths(labels.journal)
    place_pictures(labels, out / "images", placement, paths=paths)
    write_whole(out / "annotations.xml", lambda path: _write_xml(labels, paths, path))


def _write_xml(labels: Labels, paths: Mapping[str, str], path: Path) -> None:
    """Picture by picture: a large data set need not fit into memory."""
    with path.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
        file.write("<version>1.1</version>\n" + _text(_meta(labels)))
        for number, (entry, segments) in enumerate(labels.with_segments()):
            image = _image(number, paths[entry.name], entry, segments, labels)
            file.write(_text(image))
        file.write("</annotations>\n")


def _meta(labels: Labels) -> Xml.Element:
    meta = Xml.Element("meta")
    described = Xml.SubElement(Xml.SubElement(meta, "task"), "labels")
    for name, colour in zip(labels.classes, labels.colours, strict=True):
        label = Xml.SubElement(described, "label")
        Xml.SubElement(label, "name").text = name
        Xml.SubElement(label, "color").text = to_hex(colour)
        attribute = Xml.SubElement(Xml.SubElement(label, "attributes"), "attribute")
        values = {"name": "confidence", "mutable": "False", "input_type": "text"}
        for tag, text in values.items():
            Xml.SubElement(attribute, tag).text = text
    return meta


def _image(
    number: int, name: str, entry: JournalEntry, segments: Sequence[Segment], labels: Labels
) -> Xml.Element:
    image = Xml.Element(
        "image",
        id=str(number),
        name=name,
        width=str(entry.width),
        height=str(entry.height),
    )
    for segment in segments:
        points = ";".join(f"{x:.1f},{y:.1f}" for x, y in labels.outline(segment))
        polygon = Xml.SubElement(
            image,
            "polygon",
            label=labels.classes[segment.label],
            points=points,
            occluded="0",
            source="auto",
            z_order="0",
        )
        Xml.SubElement(polygon, "attribute", name="confidence").text = f"{segment.confidence:.3f}"
    return image


def _text(element: Xml.Element) -> str:
    return Xml.tostring(element, encoding="unicode") + "\n"
