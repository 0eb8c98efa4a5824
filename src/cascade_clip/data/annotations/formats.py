"""Which format annotations have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_clip.data.annotations import coco, cvat, label_images, labelme, labelstudio, yolo
from cascade_clip.data.annotations.found import Found
from cascade_clip.data.folder import LABELME_NAMES
from cascade_clip.errors import UserError
from cascade_clip.io.lines import read_lines
from cascade_clip.support.plain_values import read_json

KNOWN = (
    "COCO (.json), CVAT for images (.xml), CVAT segmentation mask (labelmap.txt), Label Studio "
    "(.json), YOLO-seg (data.yaml), labelme (.json files, or class_names.txt), or masks with "
    "--classes"
)


@dataclass(frozen=True)
class Indices:
    """What the numbers in masks mean that come without a list."""

    names: Sequence[str] = ()
    first: int = 0
    """That of the first name."""
    void: frozenset[int] = frozenset()
    """Those that are no class."""


def read_annotations(path: Path, indices: Indices) -> Found:
    """What a file, or a folder as tools export it, holds.

    Raises `UserError` if it is of no known format.
    """
    if path.is_dir():
        return _read_folder(path, indices)
    if not path.is_file():
        raise UserError(f"there is no {path}; --from takes {KNOWN}")
    if path.suffix.lower() == ".xml":
        return cvat.read(path)
    if path.suffix.lower() in (".yaml", ".yml"):
        return yolo.read(path)
    if path.suffix.lower() == ".json":
        return _read_json([path])
    raise UserError(f"{path} has none of the endings of annotations; --from takes {KNOWN}")


def _read_folder(folder: Path, indices: Indices) -> Found:
    for name in ("data.yaml", "dataset.yaml", "data.yml"):
        if (folder / name).is_file():
            return yolo.read(folder / name)
    if (folder / "annotations.xml").is_file():
        return cvat.read(folder / "annotations.xml")
    if (folder / label_images.COLOURS_FILE).is_file():
        return label_images.read_colours(folder)
    if (folder / LABELME_NAMES).is_file() and label_images.mask_folder(folder):
        return label_images.read_labelme_voc(folder)
    # COCO's own folder has keypoints and captions of the same pictures beside the instances.
    for pattern in ("annotations/instances*.json", "annotations/*.json", "**/*.json"):
        if files := sorted(folder.glob(pattern)):
            return _read_json(files)
    if label_images.mask_folder(folder) is None:
        raise UserError(f"{folder} holds no annotations; --from takes {KNOWN}")
    listed = folder / "classes.txt"
    names = indices.names or (read_lines(listed) if listed.is_file() else ())
    if not names:
        raise UserError(f"{folder} holds masks without names; list them in a file: --classes FILE")
    return label_images.read_indices(folder, names, indices.first, indices.void)


def _read_json(files: Sequence[Path]) -> Found:
    """All files have to be of the form of the first that has one."""
    contents = {file: read_json(file) for file in files}
    forms: dict[Callable[[Any], bool], Callable[[dict[Path, Any]], Found]] = {
        coco.is_coco: coco.read,
        labelme.is_labelme: labelme.read,
        labelstudio.is_labelstudio: _read_tasks,
    }
    for fits, read in forms.items():
        if chosen := {file: content for file, content in contents.items() if fits(content)}:
            found = read(chosen)
            for file in contents.keys() - chosen.keys():
                found.leave_out("JSON files of another form", str(file))
            return found
    raise UserError(f"{files[0]} is neither of COCO, nor labelme, nor Label Studio (JSON, not MIN)")


def _read_tasks(contents: dict[Path, Any]) -> Found:
    if len(contents) > 1:
        names = ", ".join(file.name for file in contents)
        raise UserError(f"several exports of Label Studio: {names}; give one with --from")
    ((path, tasks),) = contents.items()
    return labelstudio.read(path, tasks)
