"""labelme's JSON files, one for each picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os.path import abspath
from pathlib import Path
from typing import Any

from cascade_clip.data.annotations.found import Annotated, Annotation, Found, wrong_format
from cascade_clip.data.annotations.regions import Region, png_patch, polygon
from cascade_clip.errors import UserError

CIRCLE_CORNERS = 64


def is_labelme(values: Any) -> bool:
    """Whether the content of a JSON file has labelme's form."""
    return isinstance(values, dict) and {"shapes", "imagePath"} <= values.keys()


def read(files: Mapping[Path, Any]) -> Found:
    """The polygons, rectangles, circles and masks in the contents of all files; as in labelme,
    later ones lie on top. Raises `UserError` for files of another form.

    Pictures are looked for beside the files: those within the files are not read.
    """
    found = Found("labelme", next(iter(files)))
    for file, content in files.items():
        found.pictures.append(_picture(found, file, content))
    labels = {one.label for picture in found.pictures for one in picture.annotations}
    found.names = sorted(labels)
    return found


def _picture(found: Found, file: Path, content: Any) -> Annotated:
    if not is_labelme(content):
        raise wrong_format(file, "file of labelme", "it has no `shapes` and `imagePath`")
    height, width = content.get("imageHeight"), content.get("imageWidth")
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    path = str(content["imagePath"]).replace("\\", "/")
    picture = Annotated(abspath(file.parent / path), str(file), size)
    for number, shape in enumerate(content["shapes"], start=1):
        entry = f"{file} shape {number}"
        try:
            kind = shape.get("shape_type") or "polygon"
            region = _region(kind, shape)
            if region is None:
                found.leave_out(f"labelme's {kind} shapes", entry)
                continue
            picture.annotations.append(Annotation(str(shape["label"]), region, entry))
        except (UserError, AttributeError, KeyError, TypeError, ValueError) as error:
            found.leave_out("regions that make no sense", f"{entry}: {error}")
    return picture


def _region(kind: str, shape: dict[str, Any]) -> Region | None:
    points = shape["points"]
    if kind == "polygon":
        return polygon(points)
    if kind not in ("rectangle", "circle", "mask"):
        return None
    (x0, y0), (x1, y1) = points
    if kind == "mask":
        return png_patch(str(shape["mask"]), round(x0), round(y0))
    if kind == "rectangle":
        return polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    radius = math.hypot(x1 - x0, y1 - y0)
    turns = [2 * math.pi * number / CIRCLE_CORNERS for number in range(CIRCLE_CORNERS)]
    return polygon([(x0 + radius * math.cos(a), y0 + radius * math.sin(a)) for a in turns])
