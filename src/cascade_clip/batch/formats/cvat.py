"""CVAT's own XML ("CVAT for images 1.1")."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as Xml

from cascade_clip.batch.formats.pictures import Placement, picture_file, place_pictures
from cascade_clip.batch.records import Record, Store
from cascade_clip.batch.segments import without_holes
from cascade_clip.io.files import write_whole
from cascade_clip.io.palette import to_hex


def write(store: Store, out: Path, placement: Placement) -> None:
    """`images/` and `annotations.xml`: polygons with an attribute `confidence`.

    CVAT's polygons know no holes: they are joined to the outline by cuts of no width.
    """
    place_pictures(store, out / "images", placement)
    write_whole(out / "annotations.xml", lambda path: _write_xml(store, path))


def _write_xml(store: Store, path: Path) -> None:
    """Picture by picture: a large data set need not fit into memory."""
    with path.open("w", encoding="utf-8") as file:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
        file.write("<version>1.1</version>\n" + _text(_meta(store)))
        for number, record in enumerate(store):
            file.write(_text(_image(number, record, store)))
        file.write("</annotations>\n")


def _meta(store: Store) -> Xml.Element:
    meta = Xml.Element("meta")
    labels = Xml.SubElement(Xml.SubElement(meta, "task"), "labels")
    for name, colour in zip(store.classes, store.colours, strict=True):
        label = Xml.SubElement(labels, "label")
        Xml.SubElement(label, "name").text = name
        Xml.SubElement(label, "color").text = to_hex(colour)
        attribute = Xml.SubElement(Xml.SubElement(label, "attributes"), "attribute")
        values = {"name": "confidence", "mutable": "False", "input_type": "text"}
        for tag, text in values.items():
            Xml.SubElement(attribute, tag).text = text
    return meta


def _image(number: int, record: Record, store: Store) -> Xml.Element:
    image = Xml.Element(
        "image",
        id=str(number),
        name=picture_file(record),
        width=str(record.width),
        height=str(record.height),
    )
    for segment in record.segments:
        points = ";".join(f"{x:.1f},{y:.1f}" for x, y in without_holes(segment.rings))
        polygon = Xml.SubElement(
            image,
            "polygon",
            label=store.classes[segment.label],
            points=points,
            occluded="0",
            source="auto",
            z_order="0",
        )
        Xml.SubElement(polygon, "attribute", name="confidence").text = f"{segment.confidence:.3f}"
    return image


def _text(element: Xml.Element) -> str:
    return Xml.tostring(element, encoding="unicode") + "\n"
