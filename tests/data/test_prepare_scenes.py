"""Cityscapes and ADE20K, from their archives to masks and lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cascade_clip.config import PreparedName
from cascade_clip.data.check import check
from cascade_clip.data.pairs import read_mask
from cascade_clip.data.prepare.run import PLANS, Report, prepare
from cascade_clip.data.prepared import PREPARED_NAMES, PreparedDataset
from cascade_clip.data.survey import survey
from cascade_clip.errors import UserError
from tests.data import owners

CITY_LABELS = {7: 0, 8: 1, 17: 5, 24: 11, 28: 15, 31: 16, 33: 18}
"""Road, sidewalk, pole, person, bus, train, bicycle; others have no train id."""


def run(name: PreparedName, root: Path) -> Report:
    return prepare(name, root, 1, lambda *_: None)


def labels(root: Path, name: PreparedName, scene: str) -> np.ndarray:
    return read_mask(root / f"cascade-clip/{name}/masks/{Path(scene).name}.png")


def city_expected(scene: str) -> list[list[int]]:
    ids = owners.cityscapes_values(scene)
    return [[CITY_LABELS.get(int(value), 255) for value in row] for row in ids]


def test_all_data_sets_can_be_prepared() -> None:
    assert set(PLANS) == set(PREPARED_NAMES)


def test_cityscapes(tmp_path: Path) -> None:
    owners.cityscapes(tmp_path)
    report = run("cityscapes", tmp_path)
    assert (report.counts, report.problems, report.missing) == ({"train": 2, "val": 1}, [], [])
    assert report.expected == {"train": 2_975, "val": 500}
    for scene in (*owners.CITY_TRAIN, *owners.CITY_VAL):
        assert labels(tmp_path, "cityscapes", scene).tolist() == city_expected(scene)
    dataset = PreparedDataset(tmp_path, "cityscapes", "test")
    assert dataset[0].name == "frankfurt_000000_000294_leftImg8bit"
    unpacked = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert not [name for name in unpacked if "berlin" in name or "instanceIds" in name]
    assert run("cityscapes", tmp_path).kept == 3


def test_cityscapes_from_unpacked_maps_of_train_ids(tmp_path: Path) -> None:
    owners.cityscapes(tmp_path)
    run("cityscapes", tmp_path)
    for archive in tmp_path.glob("*.zip"):
        archive.unlink()
    for scene in (*owners.CITY_TRAIN, *owners.CITY_VAL):
        start = tmp_path / f"gtFine/{scene}_gtFine"
        Path(f"{start}_labelIds.png").unlink()
        content = owners.grey_png(np.array(city_expected(scene)))
        Path(f"{start}_labelTrainIds.png").write_bytes(content)
    report = run("cityscapes", tmp_path)
    assert (report.made, report.counts) == (3, {"train": 2, "val": 1})
    for scene in owners.CITY_VAL:
        assert labels(tmp_path, "cityscapes", scene).tolist() == city_expected(scene)


def test_ade20k(tmp_path: Path) -> None:
    owners.ade20k(tmp_path)
    report = run("ade20k", tmp_path)
    assert (report.counts, report.problems, report.missing) == ({"train": 1, "val": 1}, [], [])
    assert report.expected == {"train": 20_210, "val": 2_000}
    for scene in (*owners.ADE_TRAIN, *owners.ADE_VAL):
        raw = owners.ade20k_values(scene)
        expected = [[255 if value == 0 else int(value) - 1 for value in row] for row in raw]
        assert labels(tmp_path, "ade20k", scene).tolist() == expected
    assert PreparedDataset(tmp_path, "ade20k", "val")[0].name == "ADE_val_00000001"


def test_ade20k_in_full_is_for_evaluation_alone(tmp_path: Path) -> None:
    owners.ade847(tmp_path)
    report = run("ade847", tmp_path)
    assert (report.counts, report.problems, report.missing) == ({"val": 1}, [], [])
    assert report.expected == {"val": 2_000}
    numbers = {2978: 0, 312: 1, 3148: 846}  # wall, building, adding machine
    raw = owners.ade847_values(owners.ADE847[1])
    expected = [[numbers.get(int(value), 65_535) for value in row] for row in raw]
    assert labels(tmp_path, "ade847", owners.ADE847[1]).tolist() == expected
    dataset = PreparedDataset(tmp_path, "ade847", "test")
    assert dataset[0].labels.tolist() == expected
    assert run("ade847", tmp_path).kept == 1
    with pytest.raises(UserError, match="ade847 is for evaluation alone and has no train"):
        PreparedDataset(tmp_path, "ade847", "train")
    checked = check(survey(tmp_path, "ade847"), 1, lambda *_: None)
    assert not checked.problems
    assert len(checked.notes[0]) < 500  # doesn't name all classes that are absent
    assert checked.contents["val"].ignored == (raw == 0).sum() + (raw == 3001).sum()


def test_a_map_of_objects_without_colours(tmp_path: Path) -> None:
    owners.ade847(tmp_path)
    run("ade847", tmp_path)
    next(tmp_path.glob("cascade-clip/ade847/masks/*")).unlink()
    path = tmp_path / f"ADE20K_2021_17_01/images/ADE/{owners.ADE847[1]}_seg.png"
    path.write_bytes(owners.grey_png(np.zeros(owners.SIZE)))
    assert "_seg.png is of mode L, expected RGB" in run("ade847", tmp_path).problems[0]


def test_a_map_with_other_numbers_and_one_that_is_missing(tmp_path: Path) -> None:
    owners.ade20k(tmp_path)
    run("ade20k", tmp_path)
    (tmp_path / "ADEChallengeData2016.zip").unlink()
    for mask in tmp_path.glob("cascade-clip/ade20k/masks/*"):
        mask.unlink()
    maps = tmp_path / "ADEChallengeData2016/annotations"
    (maps / "training/ADE_train_00000001.png").write_bytes(
        owners.grey_png(np.full(owners.SIZE, 151))
    )
    (maps / "validation/ADE_val_00000001.png").unlink()
    report = run("ade20k", tmp_path)
    assert "ADE_train_00000001.png holds the value 151" in report.problems[0]
    assert report.missing == [maps / "validation/ADE_val_00000001.png"]


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("cityscapes", "leftImg8bit_trainvaltest.zip"),
        ("cityscapes", "gtFine_trainvaltest.zip"),
        ("ade20k", "ADEChallengeData2016.zip"),
        ("ade847", "ADE20K_2021_17_01.zip"),
    ],
)
def test_archives_that_are_missing_or_cut_short(
    name: PreparedName, archive: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"put there: .*{archive}"):
        run(name, tmp_path)
    owners.cityscapes(tmp_path)
    owners.ade20k(tmp_path)
    owners.ade847(tmp_path)
    content = (tmp_path / archive).read_bytes()
    (tmp_path / archive).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=f"{archive} is damaged") as caught:
        run(name, tmp_path)
    assert "\n" not in str(caught.value)
