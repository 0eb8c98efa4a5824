"""COCO-Stuff, from its archives to masks and lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_clip.data.pairs import read_mask
from cascade_clip.data.prepare.run import Report, prepare
from cascade_clip.data.prepared import PreparedDataset
from cascade_clip.errors import UserError
from tests.data import owners

LABELS = {0: 0, 10: 10, 11: 255, 12: 11, 90: 255, 91: 80, 181: 170, 255: 255}
"""Person, fire hydrant, (street sign, unused), stop sign, (hair brush, unused), banner, wood."""


def run(root: Path) -> Report:
    return prepare("coco-stuff", root, 1, lambda *_: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    owners.coco(tmp_path)
    return tmp_path


def test_masks_and_lists(root: Path) -> None:
    report = run(root)
    assert (report.counts, report.problems, report.missing) == ({"train": 2, "val": 1}, [], [])
    assert report.expected == {"train": 118_287, "val": 5_000}
    masks = root / "cascade-clip/coco-stuff/masks"
    for name in (*owners.COCO_TRAIN, *owners.COCO_VAL):
        expected = [[LABELS[int(value)] for value in row] for row in owners.coco_values(name)]
        assert read_mask(masks / f"{name}.png").tolist() == expected
    dataset = PreparedDataset(root, "coco-stuff", "train")
    assert [dataset[i].name for i in range(2)] == list(owners.COCO_TRAIN)
    assert run(root).kept == 3


def test_things_on_a_background(root: Path) -> None:
    report = prepare("coco-object", root, 1, lambda *_: None)
    assert (report.counts, report.problems) == ({"train": 2, "val": 1}, [])
    labels = {0: 1, 10: 11, 11: 0, 12: 12, 90: 0, 91: 0, 181: 0, 255: 0}
    for name in (*owners.COCO_TRAIN, *owners.COCO_VAL):
        made = read_mask(root / f"cascade-clip/coco-object/masks/{name}.png").tolist()
        assert made == [[labels[int(value)] for value in row] for row in owners.coco_values(name)]
    names = PreparedDataset(root, "coco-object", "val").classes.names
    assert (names[0], names[1], names[11], names[12], names[80]) == (
        "background", "person", "fire hydrant", "stop sign", "toothbrush",
    )  # fmt: skip


@pytest.mark.parametrize("maps", ["annotations", "stuffthingmaps_trainval2017", "."])
def test_unpacked_files_will_do(root: Path, maps: str) -> None:
    run(root)
    for archive in root.glob("*.zip"):
        archive.unlink()
    for part in ("train2017", "val2017"):
        (root / "images" / part).rename(root / part)
        if maps != ".":
            (root / maps).mkdir(exist_ok=True)
            (root / "annotations" / part).rename(root / maps / part)
        else:  # maps beside the pictures, as both archives unpack into one folder
            for path in (root / "annotations" / part).iterdir():
                path.rename(root / part / path.name)
    report = run(root)
    assert (report.made, report.kept, report.counts) == (0, 3, {"train": 2, "val": 1})


def test_validation_alone(root: Path) -> None:
    (root / "train2017.zip").unlink()
    report = run(root)
    assert report.counts == {"train": 0, "val": 1}
    assert "missing: train2017.zip" in report.notes[0]


def test_pictures_and_maps_without_partner_are_told(root: Path) -> None:
    run(root)
    for archive in root.glob("*.zip"):
        archive.unlink()
    lost_map = root / f"annotations/train2017/{owners.COCO_TRAIN[0]}.png"
    lost_picture = root / f"images/train2017/{owners.COCO_TRAIN[1]}.jpg"
    foreign = lost_map.with_name(f"{owners.COCO_TRAIN[0]}_labelTrainIds.png")
    lost_map.rename(foreign)  # maps that other toolkits add
    lost_picture.unlink()
    (root / f"cascade-clip/coco-stuff/masks/{owners.COCO_TRAIN[0]}.png").unlink()
    report = run(root)
    assert set(report.missing) == {lost_map, lost_picture}
    assert report.counts == {"train": 0, "val": 1}


def test_a_damaged_zip(root: Path) -> None:
    path = root / "stuffthingmaps_trainval2017.zip"
    content = bytearray(path.read_bytes())
    place = content.index(b"IDAT")
    content[place + 4 : place + 12] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"stuffthingmaps_trainval2017\.zip is damaged"):
        run(root)


def test_nothing_to_prepare_from(tmp_path: Path) -> None:
    wanted = r"train2017\.zip.*stuffthingmaps_trainval2017\.zip.*val2017\.zip"
    with pytest.raises(UserError, match=wanted):
        run(tmp_path)
