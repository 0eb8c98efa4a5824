"""ADE20K as the scene parsing challenge has it, with 150 classes."""

from __future__ import annotations

from pathlib import Path

from cascade_clip.config import PreparedName
from cascade_clip.data.class_lists import load_class_list
from cascade_clip.data.prepare.archives import ArchiveFiles, Progress, Source
from cascade_clip.data.prepare.plan import Entry, IndexPng, Plan, label_table, nothing_found

CHALLENGE = Source(
    archive="ADEChallengeData2016.zip",
    inside="ADEChallengeData2016",
    folders=("ADEChallengeData2016",),
    sign="images/*/*.jpg",
    page="http://sceneparsing.csail.mit.edu/",
)
FOLDERS = {"train": "training", "val": "validation"}
EXPECTED = {"train": 20_210, "val": 2_000}
HIGHEST = 150


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
