"""Cityscapes: the finely annotated pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cascade_clip.config import PreparedName
from cascade_clip.data.class_lists import load_class_list
from cascade_clip.data.prepare.archives import ArchiveFiles, Progress, Source
from cascade_clip.data.prepare.plan import Entry, IndexPng, Plan, label_table, nothing_found

PICTURES = Source(
    archive="leftImg8bit_trainvaltest.zip",
    inside="leftImg8bit",
    folders=("leftImg8bit", "cityscapes/leftImg8bit"),
    sign="*/*/*_leftImg8bit.png",
    page="https://www.cityscapes-dataset.com/downloads/",
)
MAPS = Source(
    archive="gtFine_trainvaltest.zip",
    inside="gtFine",
    folders=("gtFine", "cityscapes/gtFine"),
    sign="*/*/*_gtFine_label*Ids.png",
    page="https://www.cityscapes-dataset.com/downloads/",
)
EXPECTED = {"train": 2_975, "val": 500}
PICTURE = "_leftImg8bit.png"
LABEL_IDS, TRAIN_IDS = "_gtFine_labelIds.png", "_gtFine_labelTrainIds.png"
HIGHEST = 33
"""Of the label ids; -1, licence plates, would be 255 in a PNG."""


def plan(name: PreparedName, root: Path, progress: Progress) -> Plan:
    """All pictures of `train` and `val`, with the owner's maps of label ids, or where there are
    none with the maps of train ids that its scripts make. Raises `UserError`."""
    pictures, maps = ArchiveFiles(root, PICTURES), ArchiveFiles(root, MAPS)
    if not (pictures.found and maps.found):
        raise nothing_found(root, "Cityscapes", [PICTURES.expected, MAPS.expected])
    listed, highest, ending = load_class_list(name), HIGHEST, LABEL_IDS
    if not maps.paths(LABEL_IDS):
        listed = replace(listed, raw_ids=tuple(range(len(listed.names))))
        highest, ending = len(listed.names) - 1, TRAIN_IDS
    scenes = sorted(pictures.paths(PICTURE) | maps.paths(ending))
    return Plan(
        name=name,
        made_from=f"*{ending}",
        parts={
            part: [
                Entry(
                    Path(scene).name,
                    pictures.folder / f"{scene}{PICTURE}",
                    IndexPng(maps.folder / f"{scene}{ending}"),
                )
                for scene in scenes
                if scene.startswith(f"{part}/")
            ]
            for part in EXPECTED
        },
        expected=EXPECTED,
        table=label_table(listed, highest),
        archives=(pictures, maps),
    )
