"""What `segment` and `label` write into a folder, by name: nothing of it is taken for input later.

Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cascade_clip.errors import UserError
from cascade_clip.support.plain_values import parse_json

JOURNAL_FILE = "segmented.jsonl"
"""What `segment` wrote into the folder, and how."""
COCO_FILE = "coco.json"
SEGMENT_FORMATS = ("overlay", "labels", "coco", "npz")

LABELLED_FILE = "labelled.jsonl"
"""What `label` wrote into the folder, and how."""
LABEL_FORMATS = ("voc", "coco", "yolo-seg", "cvat", "labelstudio", "jsonl", "parquet")
MASKS = "masks"

_FILES = {
    "overlay": "{}-overlay.png",
    "labels": "{}-labels.png",
    "npz": "{}.npz",
    MASKS: MASKS + "/{}.png",
}


def result_files(name: str, formats: Sequence[str] = SEGMENT_FORMATS) -> dict[str, str]:
    """Paths in the folder of the results called `name`, by format; `coco` has one file for all."""
    return {kind: _FILES[kind].format(name) for kind in formats if kind in _FILES}


def without_results(files: Sequence[Path], top: Path) -> list[Path]:
    """Files found in the folder `top`, without those that `segment` or `label` put there."""
    places = {file.parent for file in files}
    above = {parent for place in places for parent in (place, *place.parents)}
    parents = {parent for parent in above if parent.is_relative_to(top)}
    segmented = {parent / name for parent in parents for name in _segmented(parent)}
    labelled = [parent for parent in parents if (parent / LABELLED_FILE).is_file()]
    folders = {parent / name for parent in labelled for name in (MASKS, *LABEL_FORMATS)}
    return [file for file in files if file not in segmented and folders.isdisjoint(file.parents)]


def _segmented(folder: Path) -> set[str]:
    """Names of the files that the journal of a folder lists, if it has one."""
    try:
        _, *lines = (folder / JOURNAL_FILE).read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError):
        return set()
    names: set[str] = set()
    for line in lines:
        try:
            names.update(result_files(str(parse_json(line, "a line")["name"])).values())
        except (UserError, KeyError, TypeError):
            continue  # the line that a killed run was at
    return names
