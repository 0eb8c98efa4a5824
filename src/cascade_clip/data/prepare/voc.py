"""PASCAL VOC 2012, with or without background as a class, and with the masks of SBD as additional
training data ("aug")."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cascade_clip.config import PreparedName
from cascade_clip.data.class_lists import load_class_list
from cascade_clip.data.prepare.archives import ArchiveFiles, Progress, Source
from cascade_clip.data.prepare.mat import read_mat
from cascade_clip.data.prepare.plan import (
    Entry,
    IndexPng,
    Plan,
    label_table,
    nothing_found,
    read_ids,
)

VOC2012 = Source(
    archive="VOCtrainval_11-May-2012.tar",
    inside="VOCdevkit/VOC2012",
    folders=("VOCdevkit/VOC2012", "VOC2012", "."),
    sign="JPEGImages",
    page="http://host.robots.ox.ac.uk/pascal/VOC/voc2012/",
)
SBD = Source(
    archive="benchmark.tgz",
    inside="benchmark_RELEASE/dataset",
    folders=("benchmark_RELEASE/dataset", "VOCdevkit/VOCaug/dataset", "VOCaug/dataset", "sbd"),
    sign="cls/*.mat",
    page="http://home.bharathh.info/pubs/codes/SBD/download.html",
)
EXPECTED = {"train": 10_582, "val": 1_449}
HIGHEST = 20


@dataclass(frozen=True)
class SbdMat:
    """A category-level segmentation of SBD: `GTcls.Segmentation`, numbered as in VOC."""

    path: Path

    def read(self) -> NDArray[np.integer]:
        return read_mat(self.path, "GTcls", "Segmentation")


def plan(name: PreparedName, root: Path, progress: Progress) -> Plan:
    """VOC's `train` and SBD's pictures for training, without those of VOC's `val`.

    Where both have a mask, VOC's own is taken. Raises `UserError`.
    """
    voc, sbd = ArchiveFiles(root, VOC2012), ArchiveFiles(root, SBD)
    if not voc.found:
        raise nothing_found(root, "VOC 2012", [VOC2012.expected, SBD.expected])
    lists = {part: voc.folder / f"ImageSets/Segmentation/{part}.txt" for part in EXPECTED}
    voc.require(lists.values(), progress)
    train, val = (read_ids(path) for path in lists.values())
    augmentation = sorted(set(_sbd_ids(sbd, progress)) - {*train, *val}) if sbd.found else []

    def voc_entry(name: str) -> Entry:
        return Entry(name, picture(name), IndexPng(voc.folder / f"SegmentationClass/{name}.png"))

    def sbd_entry(name: str) -> Entry:
        return Entry(name, picture(name), SbdMat(sbd.folder / f"cls/{name}.mat"))

    def picture(name: str) -> Path:
        return voc.folder / f"JPEGImages/{name}.jpg"

    return Plan(
        name=name,
        made_from="VOC 2012 and SBD",
        parts={
            "train": [*map(voc_entry, train), *map(sbd_entry, augmentation)],
            "val": [*map(voc_entry, val)],
        },
        expected=EXPECTED,
        table=label_table(load_class_list(name), HIGHEST),
        archives=(voc, sbd),
        notes=() if sbd.found else (f"without SBD, only VOC's own masks train: {SBD.expected}",),
    )


def _sbd_ids(sbd: ArchiveFiles, progress: Progress) -> list[str]:
    lists = [sbd.folder / "train.txt", sbd.folder / "val.txt"]
    sbd.require(lists, progress)
    return [name for path in lists for name in read_ids(path)]
