"""COCO 2017's pictures with COCO-Stuff's maps: things and stuff, or things and background."""

from __future__ import annotations

from pathlib import Path

from cascade_clip.config import PreparedName
from cascade_clip.data.class_lists import load_class_list
from cascade_clip.data.prepare.archives import ArchiveFiles, Progress, Source
from cascade_clip.data.prepare.plan import Entry, IndexPng, Plan, label_table, nothing_found

EXPECTED = {"train": 118_287, "val": 5_000}
HIGHEST = 181


def pictures_of(part: str) -> Source:
    """COCO's pictures of one part."""
    return Source(
        archive=f"{part}2017.zip",
        inside=f"{part}2017",
        folders=(f"images/{part}2017", f"{part}2017"),
        sign="*.jpg",
        page="https://cocodataset.org/#download",
    )


def maps_of(part: str) -> Source:
    """COCO-Stuff's maps of one part."""
    return Source(
        archive="stuffthingmaps_trainval2017.zip",
        inside=f"{part}2017",
        folders=(
            f"annotations/{part}2017",
            f"stuffthingmaps/{part}2017",
            f"stuffthingmaps_trainval2017/{part}2017",
            f"{part}2017",
        ),
        sign="*.png",
        page="https://github.com/nightrome/cocostuff#downloads",
    )


def plan(name: PreparedName, root: Path, progress: Progress) -> Plan:
    """All pictures of the parts that are there. Raises `UserError`."""
    parts: dict[str, list[Entry]] = {}
    archives: list[ArchiveFiles] = []
    missing: list[str] = []
    for part in EXPECTED:
        both = ArchiveFiles(root, pictures_of(part)), ArchiveFiles(root, maps_of(part))
        lacking = [files.source.expected for files in both if not files.found]
        missing += lacking
        parts[part] = [] if lacking else _entries(*both)
        archives += [] if lacking else both
    if not archives:
        raise nothing_found(root, "COCO-Stuff", list(dict.fromkeys(missing)))
    return Plan(
        name=name,
        made_from="stuffthingmaps_trainval2017",
        parts=parts,
        expected=EXPECTED,
        table=label_table(load_class_list(name), HIGHEST),
        archives=archives,
        notes=[f"missing: {expected}" for expected in missing],
    )


def _entries(pictures: ArchiveFiles, maps: ArchiveFiles) -> list[Entry]:
    """One for each picture and each map; those that lack the other show up as missing files."""
    # Others have put maps of their own, with longer names, beside the owner's.
    names = pictures.stems(".jpg") | {name for name in maps.stems(".png") if name.isdecimal()}
    return [
        Entry(name, pictures.folder / f"{name}.jpg", IndexPng(maps.folder / f"{name}.png"))
        for name in sorted(names)
    ]
