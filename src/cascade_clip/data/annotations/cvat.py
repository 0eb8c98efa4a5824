"""CVAT's own XML ("CVAT for images 1.1"): polygons and masks."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as Xml

from cascade_clip.data.annotations.found import Annotated, Annotation, Found, wrong_format
from cascade_clip.data.annotations.regions import Region, polygon, rows_of_runs
from cascade_clip.errors import UserError


def read(path: Path) -> Found:
    """The polygons and masks; those of a higher `z_order` lie on top, of equal ones the later.

    Raises `UserError` for another form, among them that of videos.
    """
    try:
        root = Xml.parse(path).getroot()
    except (OSError, Xml.ParseError, UnicodeDecodeError) as error:
        raise wrong_format(path, "XML of CVAT", error) from error
    if root.find("track") is not None:
        raise UserError(f"{path} is 'CVAT for video'; export it as 'CVAT for images 1.1'")
    images = root.findall("image")
    if root.tag != "annotations" or not images:
        raise wrong_format(path, "XML of CVAT", "it has no <annotations> with <image>")
    labels = root.iterfind("meta//labels/label/name")
    found = Found("CVAT for images", path, [name.text or "" for name in labels])
    for image in images:
        found.pictures.append(_picture(found, path, image))
    return found


def _picture(found: Found, path: Path, image: Xml.Element) -> Annotated:
    entry = f"{path.name} image {image.get('id', '?')}"
    try:
        size = (int(image.attrib["height"]), int(image.attrib["width"]))
        picture = Annotated(image.attrib["name"], entry, size)
    except (KeyError, ValueError) as error:
        raise wrong_format(path, "XML of CVAT", f"{entry}: {error}") from error
    for number, shape in enumerate(image, start=1):
        where = f"{entry} {shape.tag} {number}"
        if shape.tag not in ("polygon", "mask"):
            found.leave_out(f"CVAT's {shape.tag} annotations", where)
            continue
        try:
            z = int(shape.get("z_order", 0))
            region = _polygon(shape) if shape.tag == "polygon" else _mask(shape)
            picture.annotations.append(Annotation(shape.attrib["label"], region, where, z))
        except (UserError, KeyError, ValueError) as error:
            found.leave_out("regions that make no sense", f"{where}: {error}")
    return picture


def _polygon(shape: Xml.Element) -> Region:
    return polygon([corner.split(",") for corner in shape.attrib["points"].split(";") if corner])


def _mask(shape: Xml.Element) -> Region:
    runs = [int(length) for length in shape.attrib["rle"].split(",") if length.strip()]
    left, top, width, height = (
        int(float(shape.attrib[side])) for side in ("left", "top", "width", "height")
    )
    return rows_of_runs(runs, left, top, height, width)
