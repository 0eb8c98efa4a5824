"""Prepared data sets in small: scenes of the picture book, labelled as VOC, Context or COCO."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from cascade_clip.config import PreparedName
from cascade_clip.data.class_lists import load_class_list
from cascade_clip.data.labels import IGNORE, ignored_label
from cascade_clip.picturebook import CLASSES, draw_scene

SIZES = ((48, 64), (64, 48), (40, 40), (64, 64))
"""(height, width) of the pictures; the last two are for validation."""
BOOK = 57
"""Seed of the scenes: in this book every picture shows a car, a boat or a cat, as VOC has them."""


def write_prepared(root: Path, name: PreparedName) -> Path:
    """What `cascade-clip prepare` leaves below `root`: three pictures to train on, two to test on;
    the latter alone of data for evaluation.

    Names that the picture book shares with the data set keep their pixels, others are ignored.
    """
    folder = root / "cascade-clip" / name
    pictures = root / "pictures"
    (folder / "masks").mkdir(parents=True)
    pictures.mkdir(exist_ok=True)
    labels = _labels(name)
    lines = []
    for index, (height, width) in enumerate(SIZES):
        scene = draw_scene(BOOK, index, 64)
        Image.fromarray(scene.image[:height, :width]).save(pictures / f"{index}.png")
        Image.fromarray(labels[scene.mask[:height, :width]]).save(folder / f"masks/{index}.png")
        lines.append(f"pictures/{index}.png\tmasks/{index}.png\n")
    lists = {"train": lines[:3], "val": lines[2:]}
    if labels.dtype != np.uint8:
        del lists["train"]
    for kind, listed in lists.items():
        (folder / f"{kind}.txt").write_text("".join(listed))
    counts = {kind: len(listed) for kind, listed in lists.items()}
    summary = {"name": name, "version": 1, "counts": counts}
    (folder / "prepared.json").write_text(json.dumps(summary))
    return root


def _labels(name: PreparedName) -> np.ndarray:
    """(256,) from labels of the picture book to those of the data set."""
    names = load_class_list(name).names
    ignored = ignored_label(len(names))
    labels = np.full(256, ignored, np.uint8 if ignored == IGNORE else np.uint16)
    for label, known in enumerate(CLASSES):
        if known in names:
            labels[label] = names.index(known)
    return labels
