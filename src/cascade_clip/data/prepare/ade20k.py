"""ADE20K: as the scene parsing challenge has it, with 150 classes, and in full."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cascade_clip.config import PreparedName
from cascade_clip.data.class_lists import load_class_list
from cascade_clip.data.prepare.archives import ArchiveFiles, Progress, Source
from cascade_clip.data.prepare.plan import Entry, IndexPng, Plan, label_table, nothing_found
from cascade_clip.errors import UserError
from cascade_clip.io.images import open_picture

CHALLENGE = Source(
    archive="ADEChallengeData2016.zip",
    inside="ADEChallengeData2016",
    folders=("ADEChallengeData2016",),
    sign="images/*/*.jpg",
    page="http://sceneparsing.csail.mit.edu/",
)
FULL = Source(
    archive="ADE20K_2021_17_01.zip",
    inside="ADE20K_2021_17_01/images/ADE",
    folders=("ADE20K_2021_17_01/images/ADE",),
    sign="validation/**/*_seg.png",
    page="https://groups.csail.mit.edu/vision/datasets/ADE20K/",
)
FOLDERS = {"train": "training", "val": "validation"}
EXPECTED = {"train": 20_210, "val": 2_000}
HIGHEST = 150
HIGHEST_OBJECT = 25 * 256 + 255
"""What a map can hold; the owner's index names about 3,700 objects."""


@dataclass(frozen=True)
class ObjectPng:
    """A `*_seg.png` of the full data set: red and green hold the number of the object, 0 for none,
    blue the instance."""

    path: Path

    def read(self) -> NDArray[np.integer]:
        with open_picture(self.path, f"map {self.path}") as image:
            if image.mode != "RGB":
                raise UserError(f"map {self.path} is of mode {image.mode}, expected RGB")
            red, green, _ = np.moveaxis(np.asarray(image, np.int32), 2, 0)
        return red // 10 * 256 + green


def plan(name: PreparedName, root: Path, progress: Progress) -> Plan:
    """All pictures and all maps of the challenge. Raises `UserError`."""
    files = ArchiveFiles(root, CHALLENGE)
    if not files.found:
        raise nothing_found(root, "ADE20K", [CHALLENGE.expected])
    pictures, maps = files.folder / "images", files.folder / "annotations"
    both = files.paths(".jpg") | files.paths(".png")
    scenes = sorted({path.partition("/")[2] for path in both})
    return Plan(
        name=name,
        made_from=CHALLENGE.archive,
        parts={
            part: [
                Entry(Path(scene).name, pictures / f"{scene}.jpg", IndexPng(maps / f"{scene}.png"))
                for scene in scenes
                if scene.startswith(f"{folder}/")
            ]
            for part, folder in FOLDERS.items()
        },
        expected=EXPECTED,
        table=label_table(load_class_list(name), HIGHEST),
        archives=(files,),
    )


def plan_full(name: PreparedName, root: Path, progress: Progress) -> Plan:
    """The pictures for validation of the full data set, with as many classes as occur in both its
    parts. Raises `UserError`."""
    files = ArchiveFiles(root, FULL)
    if not files.found:
        raise nothing_found(root, "ADE20K in full", [FULL.expected])
    scenes = sorted(path for path in files.paths("_seg.png") if path.startswith("validation/"))
    return Plan(
        name=name,
        made_from=FULL.archive,
        parts={
            "val": [
                Entry(
                    Path(scene).name,
                    files.folder / f"{scene}.jpg",
                    ObjectPng(files.folder / f"{scene}_seg.png"),
                )
                for scene in scenes
            ]
        },
        expected={"val": EXPECTED["val"]},
        table=label_table(load_class_list(name), HIGHEST_OBJECT),
        archives=(files,),
    )
