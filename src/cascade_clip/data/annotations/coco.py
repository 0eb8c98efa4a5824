"""COCO's object annotations: polygons and run-length codes, crowds too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cascade_clip.data.annotations.found import Annotated, Annotation, Found, Part, wrong_format
from cascade_clip.data.annotations.regions import Region, Runs, flat_polygons
from cascade_clip.errors import UserError
from cascade_clip.io.coco import decompress


def is_coco(values: Any) -> bool:
    """Whether the content of a JSON file has COCO's form."""
    return isinstance(values, dict) and {"images", "annotations", "categories"} <= values.keys()


def read(files: Mapping[Path, Any]) -> Found:
    """The annotations in the contents of one or several files; a file called after a part is for
    that part.

    A crowd is a region like any other. The format has no order. Raises `UserError` for files of
    another form.
    """
    found = Found("COCO", next(iter(files)), ordered=False)
    names: dict[str, None] = {}
    for file, content in files.items():
        try:
            names |= _add(found, file, content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise wrong_format(file, "COCO file", f"{type(error).__name__} {error}") from error
    found.names = tuple(names)
    return found


def _add(found: Found, file: Path, content: Any) -> dict[str, None]:
    classes = {category["id"]: str(category["name"]) for category in content["categories"]}
    pictures: dict[Any, Annotated] = {}
    for image in content["images"]:
        if image["id"] in pictures:
            raise UserError(f"{file} holds two images of the id {image['id']}")
        size = (int(image["height"]), int(image["width"]))
        entry = f"{file.name} image {image['id']}"
        pictures[image["id"]] = Annotated(
            str(image["file_name"]), entry, size, part=_part(file.stem)
        )
    for annotation in content["annotations"]:
        entry = f"{file.name} annotation {annotation.get('id', '?')}"
        picture = pictures.get(annotation["image_id"])
        label = classes.get(annotation["category_id"])
        if picture is None or label is None:
            found.leave_out("annotations of an image or a category that is not listed", entry)
            continue
        try:
            region = _region(annotation.get("segmentation"))
        except UserError as error:
            found.leave_out("regions that make no sense", f"{entry}: {error}")
            continue
        if region is None:
            found.leave_out("boxes and keypoints without a region", entry)
            continue
        picture.annotations.append(Annotation(label, region, entry))
    found.pictures += pictures.values()
    return dict.fromkeys(classes.values())


def _part(stem: str) -> Part | None:
    parts: tuple[Part, ...] = ("train", "val")
    return next((part for part in parts if part in stem.lower()), None)


def _region(stored: Any) -> Region | None:
    if not stored:
        return None
    if isinstance(stored, list):
        return flat_polygons(stored)
    try:
        height, width = (int(side) for side in stored["size"])
        counts = stored["counts"]
        lengths = decompress(counts) if isinstance(counts, str) else list(map(int, counts))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"no run-length code ({type(error).__name__} {error})") from error
    return Runs(tuple(lengths), (height, width))
