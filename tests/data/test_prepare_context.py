"""PASCAL Context, from either form of its annotations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cascade_clip.data.class_lists import load_class_list
from cascade_clip.data.pairs import read_mask
from cascade_clip.data.prepare.run import Report, prepare
from cascade_clip.data.prepared import PreparedDataset
from cascade_clip.errors import UserError
from tests.data import owners

CLASSES = load_class_list("context59")
NUMBERED = dict(zip(CLASSES.raw_ids, CLASSES.names, strict=True))
"""Names of the 59 among the owner's 459 numbers."""
LEFT = np.zeros(owners.SIZE, bool)
LEFT[:, :8] = True
TOP = np.zeros(owners.SIZE, bool)
TOP[:3] = True
SEGMENTS = {
    "2008_000002": [(284, LEFT), (420, TOP)],  # the tree lies on top of the person
    "2008_000003": [(2, LEFT), (458, ~LEFT)],
}


def run(root: Path) -> Report:
    return prepare("context59", root, 1, lambda *_: None)


def mask(root: Path, name: str) -> np.ndarray:
    return read_mask(root / f"cascade-clip/context59/masks/{name}.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    owners.voc2010(tmp_path)
    return tmp_path


def test_mat_files(root: Path) -> None:
    owners.context_mats(root, NUMBERED)
    report = run(root)
    assert (report.counts, report.problems) == ({"train": 2, "val": 1}, [])
    assert report.expected == {"train": 4_998, "val": 5_105}
    for name in (*owners.CONTEXT_TRAIN, *owners.CONTEXT_VAL):
        names = [[NUMBERED.get(int(v)) for v in row] for row in owners.context_values(name)]
        labels = [[CLASSES.names.index(n) if n else 255 for n in row] for row in names]
        assert mask(root, name).tolist() == labels
    assert PreparedDataset(root, "context59", "train")[0].name == owners.CONTEXT_TRAIN[0]


def test_merged_json(root: Path) -> None:
    owners.context_merged(root, SEGMENTS)
    report = run(root)
    assert report.counts == {"train": 1, "val": 1}
    assert report.expected == {"train": 4_996, "val": 5_104}
    person, tree = CLASSES.names.index("person"), CLASSES.names.index("tree")
    labels = mask(root, "2008_000002")
    assert (labels[TOP] == tree).all()
    assert (labels[~TOP & LEFT] == person).all()
    assert (labels[~TOP & ~LEFT] == 255).all()
    assert set(np.unique(mask(root, "2008_000003"))) == {0, 58}  # aeroplane, wood


def test_all_else_is_background(root: Path) -> None:
    owners.context_mats(root, NUMBERED)
    report = prepare("context60", root, 1, lambda *_: None)
    assert (report.counts, report.problems) == ({"train": 2, "val": 1}, [])
    names = PreparedDataset(root, "context60", "val").classes.names
    for name in (*owners.CONTEXT_TRAIN, *owners.CONTEXT_VAL):
        labels = read_mask(root / f"cascade-clip/context60/masks/{name}.png")
        known = [[NUMBERED.get(int(v), "background") for v in row]
                 for row in owners.context_values(name)]  # fmt: skip
        assert [[names[label] for label in row] for row in labels] == known
    owners.context_merged(root, SEGMENTS)
    prepare("context60", root, 1, lambda *_: None)
    labels = read_mask(root / "cascade-clip/context60/masks/2008_000002.png")
    assert (labels[~TOP & ~LEFT] == 0).all()  # no segment
    assert (labels[~TOP & LEFT] == names.index("person")).all()


def test_all_459_labels(root: Path) -> None:
    with pytest.raises(UserError, match=r"put there: .*trainval\.tar\.gz") as caught:
        prepare("context459", root, 1, lambda *_: None)
    assert "json" not in str(caught.value)
    listed = load_class_list("context459")
    owners.context_mats(root, dict(enumerate(listed.names, 1)))
    report = prepare("context459", root, 1, lambda *_: None)
    assert (report.counts, report.expected, report.problems) == ({"val": 1}, {"val": 5_105}, [])
    dataset = PreparedDataset(root, "context459", "val")
    raw = owners.context_values(owners.CONTEXT_VAL[0]).astype(int)
    assert dataset[0].labels.tolist() == (raw - 1).tolist()
    assert dataset.classes.names[284 - 1] == "person"
    owners.context_mats(root, {**dict(enumerate(listed.names, 1)), 459: "silk"})
    (root / "labels.txt").unlink()
    with pytest.raises(UserError, match="calls 459 'silk', expected 'wool'"):
        prepare("context459", root, 1, lambda *_: None)


def test_other_annotations_replace_all_masks(root: Path) -> None:
    owners.context_mats(root, NUMBERED)
    run(root)
    from_mats = mask(root, "2008_000002").tolist()
    owners.context_merged(root, SEGMENTS)
    report = run(root)
    assert (report.made, report.kept) == (2, 0)
    assert "not from .mat files" in report.notes[0]
    assert mask(root, "2008_000002").tolist() != from_mats
    assert not (root / "cascade-clip/context59/masks/2008_003252.png").exists()


def test_numbers_with_other_names_are_refused(root: Path) -> None:
    owners.context_mats(root, {**NUMBERED, 284: "pelican"})
    with pytest.raises(UserError, match="calls 284 'pelican', expected 'person'"):
        run(root)


@pytest.mark.parametrize(
    "content",
    ["[]", '{"images": []}', '{"images": [], "annos_segmentation": [{}]}', '{"images": [{"im'],
)
def test_another_json(root: Path, content: str) -> None:
    (root / "trainval_merged.json").write_text(content)
    with pytest.raises(UserError, match=r"is damaged or something else.*detail-api"):
        run(root)


def test_a_damaged_segment_costs_one_picture(root: Path) -> None:
    path = owners.context_merged(root, SEGMENTS)
    content = json.loads(path.read_text())
    content["annos_segmentation"][0]["segmentation"]["counts"] = "0;Z"
    path.write_text(json.dumps(content))
    report = run(root)
    assert report.counts == {"train": 0, "val": 1}
    assert "a segment of 2008_000002 is damaged" in report.problems[0]


def test_nothing_to_prepare_from(root: Path) -> None:
    wanted = r"VOCtrainval_03-May-2010\.tar.*trainval_merged\.json.*trainval\.tar\.gz"
    with pytest.raises(UserError, match=wanted):
        run(root)
