"""Label Studio's JSON export: polygons and brushes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import numpy.typing as npt

from cascade_clip.data.annotations.found import Annotated, Annotation, Found, wrong_format
from cascade_clip.data.annotations.regions import Patch, Region, polygon
from cascade_clip.errors import UserError

REGIONS = {"polygonlabels": "polygon", "brushlabels": "brush"}


def is_labelstudio(values: Any) -> bool:
    """Whether the content of a JSON file has the form of Label Studio's tasks."""
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(task, dict) and "data" in task for task in values)
    )


def read(path: Path, tasks: Any) -> Found:
    """The polygons and brushes of each task's last annotation that was not cancelled; of tasks as
    `label` writes them, where none has an annotation, those of the last prediction.

    Raises `UserError` for another form.
    """
    found = Found("Label Studio", path)
    key = "annotations" if any(task.get("annotations") for task in tasks) else "predictions"
    names: dict[str, None] = {}
    for number, task in enumerate(tasks, start=1):
        entry = f"{path.name} task {task.get('id', number)}"
        try:
            picture = _task(found, task, key, entry)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise wrong_format(path, "JSON export of Label Studio", f"{entry}: {error}") from error
        if picture is not None:
            found.pictures.append(picture)
            names |= dict.fromkeys(one.label for one in picture.annotations)
    found.names = sorted(names)
    return found


def picture_of(url: str) -> str:
    """The path of a picture within the address that a task has for it; of one that was uploaded its
    own name."""
    address = urlsplit(url)
    local = parse_qs(address.query).get("d")
    path = local[0] if local else unquote(address.path or url)
    return re.sub(r"/data/upload/(\d+/)?[0-9a-f]{8}-", "", path)


def _task(found: Found, task: dict[str, Any], key: str, entry: str) -> Annotated | None:
    images = [value for value in task["data"].values() if isinstance(value, str)]
    image = task["data"].get("image", images[0] if images else None)
    if image is None:
        found.leave_out("tasks without a picture", entry)
        return None
    done = [one for one in task.get(key) or () if not one.get("was_cancelled")]
    if not done:
        found.leave_out(f"tasks without {key}", entry)
        return None
    if len(done) > 1:
        found.leave_out("earlier annotations of one picture", entry)
    picture = Annotated(picture_of(str(image)), entry)
    for result in done[-1].get("result") or ():
        _add(found, picture, result, f"{entry} result {result.get('id', '?')}")
    return picture


def _add(found: Found, picture: Annotated, result: dict[str, Any], entry: str) -> None:
    kind = str(result.get("type"))
    if kind not in REGIONS:
        found.leave_out(f"Label Studio's {kind} results", entry)
        return
    try:
        size = (int(result["original_height"]), int(result["original_width"]))
        if picture.size not in (None, size):
            raise UserError("its picture has another size in other results")
        value = result["value"]
        labels = value[kind]
        region = _polygon(value) if kind == "polygonlabels" else _brush(value, size)
    except (UserError, KeyError, TypeError, ValueError, IndexError) as error:
        found.leave_out("regions that make no sense", f"{entry}: {error!s}")
        return
    picture.size = size
    if not labels:
        found.leave_out("regions without a class", entry)
    elif len(labels) > 1:
        found.leave_out("regions of several classes, of which the first is taken", entry)
    picture.annotations += [Annotation(str(label), region, entry) for label in labels[:1]]


def _polygon(value: dict[str, Any]) -> Region:
    shares = [(float(x) / 100, float(y) / 100) for x, y in value["points"]]
    return polygon(shares, relative=True)


def _brush(value: dict[str, Any], size: tuple[int, int]) -> Region:
    if value.get("format") != "rle":
        raise UserError(f"a brush of the format {value.get('format')!r}")
    pixels = unpack(value["rle"])
    if pixels.size != 4 * size[0] * size[1]:
        raise UserError(f"run lengths of {pixels.size // 4} pixels, for {size[1]} x {size[0]}")
    return Patch(0, 0, pixels.reshape(*size, 4)[..., 3] > 0)


def unpack(packed: Sequence[int]) -> npt.NDArray[np.uint8]:
    """The bytes that rle-pack (the library of Label Studio's brush) has packed.

    A head: their number (32 bits), the bits of a value less one (5), the bits of four kinds of
    counts less one (4 each). Then pieces: whether a value repeats (1), the kind of count (2), the
    count less one, and the value once if it repeats, else that many values.
    """
    bits = np.unpackbits(np.asarray(packed, np.uint8))
    place = 0

    def numbers(count: int, size: int) -> npt.NDArray[np.int64]:
        nonlocal place
        taken = bits[place : place + count * size]
        if len(taken) < count * size:
            raise UserError("a brush that is cut short")
        place += count * size
        return taken.reshape(count, size) @ (1 << np.arange(size - 1, -1, -1, dtype=np.int64))

    def number(size: int) -> int:
        return int(numbers(1, size)[0])

    total, word = number(32), number(5) + 1
    kinds = [number(4) + 1 for _ in range(4)]
    out: list[npt.NDArray[np.uint8]] = []
    done = 0
    while done < total:
        repeats, kind = number(1), number(2)
        count = min(number(kinds[kind]) + 1, total - done)
        if repeats:
            out.append(np.full(count, number(word), np.uint8))
        else:
            out.append(numbers(count, word).astype(np.uint8))
        done += count
    return np.concatenate(out) if out else np.zeros(0, np.uint8)
