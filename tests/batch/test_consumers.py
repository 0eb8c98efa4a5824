"""The tools that the formats are for read them, each in an environment of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from cascade_clip.batch.formats import WRITERS
from cascade_clip.batch.formats.pictures import picture_paths
from cascade_clip.batch.labels import Labels
from tests.batch.labelled import labelled, masks
from tests.environments import python_with, run_alone

READERS = Path(__file__).parent / "readers"
NAMES = ("a.jpg", "park/Lion 2.JPG", "park/schön.jpg", "zoo/a.jpg")
"""What the pictures are called: two alike, blanks, capitals, and letters beyond ASCII."""


@pytest.fixture(scope="module")
def odd(pictures: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Labels:
    folder = tmp_path_factory.mktemp("odd")
    files = [folder / "pictures" / name for name in NAMES]
    for source, file in zip(pictures, files, strict=True):
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, file)
    return labelled(files, folder / "labels")


@pytest.mark.proof
@pytest.mark.parametrize(
    ("tool", "format", "by_path"),
    [
        ("datumaro", "voc", False),
        ("datumaro", "cvat", True),
        ("datumaro", "coco", True),
        ("fiftyone", "coco", True),
        ("label-studio-sdk", "labelstudio", True),
        ("ultralytics", "yolo-seg", False),
    ],
)
def test_the_tool_itself_reads_the_masks(
    tool: str, format: str, by_path: bool, odd: Labels, tmp_path: Path
) -> None:
    python = python_with(tool, beside=tool == "ultralytics")
    WRITERS[format](odd, tmp_path / format, "copy")
    out = tmp_path / "read.npz"
    reader = READERS / f"read_{tool.replace('-', '_')}.py"
    run_alone(python, reader, format, tmp_path / format, out)
    read = dict(np.load(out))
    assert tuple(read.pop("classes")) == odd.classes
    paths = picture_paths(odd.journal)
    for entry, mask in zip(odd.entries, masks(odd), strict=True):
        key = Path(paths[entry.name]).with_suffix("").as_posix() if by_path else entry.name
        np.testing.assert_array_equal(read.pop(key), mask)
    assert not read
