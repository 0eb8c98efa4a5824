"""PASCAL Context: VOC 2010's pictures with annotations in either of their two published forms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_clip.config import PreparedName
from cascade_clip.data.class_lists import ClassList, load_class_list
from cascade_clip.data.prepare.archives import ArchiveFiles, Progress, Source
from cascade_clip.data.prepare.mat import read_mat
from cascade_clip.data.prepare.plan import Entry, Plan, label_table, nothing_found, read_ids
from cascade_clip.errors import UserError
from cascade_clip.io.coco import RLE, decode_mask
from cascade_clip.io.lines import read_lines
from cascade_clip.support.plain_values import parse_json

VOC2010 = Source(
    archive="VOCtrainval_03-May-2010.tar",
    inside="VOCdevkit/VOC2010",
    folders=("VOCdevkit/VOC2010", "VOC2010", "."),
    sign="JPEGImages",
    page="http://host.robots.ox.ac.uk/pascal/VOC/voc2010/",
)
MATS = Source(
    archive="trainval.tar.gz",
    inside=".",
    folders=(".", "VOCdevkit/VOC2010", "VOC2010"),
    sign="trainval/*.mat",
    page="https://cs.stanford.edu/~roozbeh/pascal-context/",
)
MERGED = "trainval_merged.json"
MERGED_EXPECTED = f"{MERGED} from https://github.com/zhanghang1989/detail-api"
PICTURES = {MATS.archive: {"train": 4_998, "val": 5_105}, MERGED: {"train": 4_996, "val": 5_104}}
"""`trainval_merged.json` lacks 2008_003252, 2010_001592 and 2010_001606."""
HIGHEST = 459


@dataclass(frozen=True)
class LabelMapMat:
    """A .mat file of PASCAL Context: `LabelMap` holds 1 to 459, as `labels.txt` numbers them."""

    path: Path

    def read(self) -> NDArray[np.integer]:
        return read_mat(self.path, "LabelMap")


@dataclass(frozen=True)
class Segments:
    """A picture in `trainval_merged.json`: run-length codes of its segments, each with a category
    numbered as in `labels.txt`. Later ones lie on top; what none covers is outside all classes."""

    path: Path
    """Of the JSON file."""
    name: str
    height: int
    width: int
    segments: tuple[tuple[int, RLE], ...]

    def read(self) -> NDArray[np.integer]:
        labels = np.zeros((self.height, self.width), np.int32)
        for category, code in self.segments:
            try:
                labels[decode_mask(code)] = category
            except (IndexError, KeyError, TypeError, ValueError) as error:
                raise UserError(
                    f"{self.path}: a segment of {self.name} is damaged: {error}"
                ) from error
        return labels


def plan(name: PreparedName, root: Path, progress: Progress) -> Plan:
    """The pictures and the parts of `trainval_merged.json`, or else those that VOC 2010 lists for
    its main task, with `trainval/*.mat`. Raises `UserError`."""
    voc, mats = ArchiveFiles(root, VOC2010), ArchiveFiles(root, MATS)
    merged = [path for folder in VOC2010.folders if (path := root / folder / MERGED).is_file()]
    if not voc.found or not (merged or mats.found):
        annotations = f"{MERGED_EXPECTED}, or {MATS.expected}"
        raise nothing_found(root, "PASCAL Context", [VOC2010.expected, annotations])
    if merged:
        progress(f"reading {MERGED}", 0, None)
        parts = _from_merged(merged[0], voc.folder)
        progress(f"reading {MERGED}", 1, 1)
    else:
        parts = _from_mats(name, voc, mats, progress)
    made_from = MERGED if merged else MATS.archive
    return Plan(
        name=name,
        made_from=made_from,
        parts=parts,
        expected=PICTURES[made_from],
        table=label_table(load_class_list(name), HIGHEST),
        archives=(voc,) if merged else (voc, mats),
        notes=(f"masks are made from {MERGED}, not from .mat files",)
        if merged and mats.found
        else (),
    )


def plan_full(name: PreparedName, root: Path, progress: Progress) -> Plan:
    """The pictures that VOC 2010 lists for validation in its main task, with all 459 labels, which
    the .mat files alone hold. Raises `UserError`."""
    voc, mats = ArchiveFiles(root, VOC2010), ArchiveFiles(root, MATS)
    if not (voc.found and mats.found):
        raise nothing_found(root, "PASCAL Context", [VOC2010.expected, MATS.expected])
    return Plan(
        name=name,
        made_from=MATS.archive,
        parts={"val": _from_mats(name, voc, mats, progress)["val"]},
        expected={"val": PICTURES[MATS.archive]["val"]},
        table=label_table(load_class_list(name), HIGHEST),
        archives=(voc, mats),
    )


def _from_mats(
    data: PreparedName, voc: ArchiveFiles, mats: ArchiveFiles, progress: Progress
) -> dict[str, list[Entry]]:
    names_file = mats.folder / "labels.txt"
    lists = {part: voc.folder / f"ImageSets/Main/{part}.txt" for part in ("train", "val")}
    voc.require(lists.values(), progress)
    mats.obtain([names_file], progress)
    if names_file.is_file():
        _check_names(names_file, load_class_list(data))
    return {
        part: [
            Entry(
                name,
                voc.folder / f"JPEGImages/{name}.jpg",
                LabelMapMat(mats.folder / f"trainval/{name}.mat"),
            )
            for name in read_ids(path)
        ]
        for part, path in lists.items()
    }


def _check_names(path: Path, classes: ClassList) -> None:
    """That `labels.txt` (`1: accordion`, ...) numbers the classes as we do."""
    lines = (line.partition(":") for line in read_lines(path))
    numbered = {number.strip(): name.replace(" ", "") for number, _, name in lines}
    for number, name in zip(classes.raw_ids, classes.names, strict=True):
        if number == 0:  # no label, the background
            continue
        if numbered.get(str(number)) != name.replace(" ", ""):
            raise UserError(
                f"{path} calls {number} '{numbered.get(str(number))}', expected '{name}'; get "
                f"{MATS.expected}"
            )


def _from_merged(path: Path, pictures: Path) -> dict[str, list[Entry]]:
    try:
        content = parse_json(path.read_bytes(), str(path))
        images, segments = content["images"], content["annos_segmentation"]
        of_picture: dict[Any, list[tuple[int, RLE]]] = defaultdict(list)
        for segment in segments:
            code = segment["segmentation"]
            of_picture[segment["image_id"]].append((int(segment["category_id"]), code))
        return {
            part: [
                _merged_entry(path, pictures / "JPEGImages", image, of_picture[image["image_id"]])
                for image in images
                if image["phase"] == part
            ]
            for part in ("train", "val")
        }
    except (UserError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged or something else ({error!r}); get {MERGED_EXPECTED}"
        ) from error


def _merged_entry(
    path: Path, pictures: Path, image: dict[str, Any], segments: Sequence[tuple[int, RLE]]
) -> Entry:
    picture = pictures / Path(image["file_name"]).name
    size = (int(image["height"]), int(image["width"]))
    return Entry(picture.stem, picture, Segments(path, picture.stem, *size, tuple(segments)))
