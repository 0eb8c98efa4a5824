"""What a folder of labels keeps, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from cascade_clip.batch import pipeline
from cascade_clip.batch.formats import WRITERS
from cascade_clip.batch.items import Failure, items_of
from cascade_clip.batch.labels import Labels, labelling_journal, labels_of
from cascade_clip.batch.pipeline import Pipeline, run_batch
from cascade_clip.batch.task import Background, Task
from cascade_clip.checkpoint.locate import find_model
from cascade_clip.checkpoint.source import ModelSource
from cascade_clip.errors import UserError
from cascade_clip.picturebook import draw_scene
from cascade_clip.segmenter import Segmenter

CLASSES = (("cat",), ("sky", "heaven"))

HELD_OUT = "000003"
"""A name that is held out for validation."""

Label = Callable[..., Labels]


def draw(path: Path, seed: int, size: tuple[int, int] = (48, 48)) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(draw_scene(seed, 0, size).image).save(path)
    return path


def task_into(out: Path) -> Task:
    return Task(ModelSource(), CLASSES, Background(0.3), out, ("masks",), min_area=1)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Pipeline(task_into(Path("unused"))).segmenter


@pytest.fixture
def label(segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Label:
    """Labels pictures into one folder, those that are not done."""
    monkeypatch.setattr(Pipeline, "segmenter", segmenter)

    def call(*pictures: Path) -> Labels:
        task = task_into(tmp_path / "out")
        journal = labelling_journal(task)
        items = items_of(pictures, None, journal.names())
        outcomes = run_batch(Pipeline(task).run, journal, items, task.formats)
        assert not any(isinstance(outcome, Failure) for outcome in outcomes)
        return labels_of(journal)

    return call


def redone(label: Label, *pictures: Path) -> list[str]:
    """Names of the pictures that another call labels again."""
    folder = label().journal.folder
    times = {file.stem: file.stat().st_mtime_ns for file in (folder / "masks").iterdir()}
    label(*pictures)
    now = {file.stem: file.stat().st_mtime_ns for file in (folder / "masks").iterdir()}
    return sorted(name for name in now if now[name] != times.get(name))


def test_a_changed_picture_is_labelled_again(label: Label, tmp_path: Path) -> None:
    picture = draw(tmp_path / "pictures/a.png", seed=1)
    labels = label(picture)
    WRITERS["voc"](labels, tmp_path / "voc", "copy")
    assert redone(label, picture) == []

    draw(picture, seed=2, size=(40, 60))
    left, lines = labels.without_stale()
    assert left.entries == () and "a.png has changed since" in lines[0]

    WRITERS["voc"](label(picture), tmp_path / "voc", "copy")
    for written in ("JPEGImages/a.jpg", "SegmentationClass/a.png"):
        with Image.open(tmp_path / "voc" / written) as image:
            assert image.size == (60, 40)


def test_a_deleted_picture_is_left_out_of_what_is_written(label: Label, tmp_path: Path) -> None:
    pictures = [draw(tmp_path / f"pictures/{name}.png", 1) for name in "abc"]
    labels = label(*pictures)
    WRITERS["yolo-seg"](labels, tmp_path / "yolo-seg", "copy")
    WRITERS["voc"](labels, tmp_path / "voc", "link")
    pictures[0].unlink()
    labels.mask("b").unlink()
    left, (gone, no_mask) = labels.without_stale()
    assert f"{pictures[0]} is gone" in gone and str(labels.journal.path) in gone
    assert f"{labels.mask('b')} is gone" in no_mask
    for name, write in WRITERS.items():
        if name != "parquet":
            write(left, tmp_path / name, "copy")
    content = json.loads((tmp_path / "coco/annotations/instances_default.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["c.png"]
    for part in ("yolo-seg/images", "yolo-seg/labels", "voc/JPEGImages"):
        assert [file.stem for file in (tmp_path / part).rglob("*.*")] == ["c"]
    assert redone(label, *pictures[1:]) == ["b"]


def test_voc_and_yolo_hold_back_the_same_pictures(label: Label, tmp_path: Path) -> None:
    def written(*names: str) -> dict[str, list[str]]:
        labels = label(*(draw(tmp_path / f"pictures/{name}.png", 1) for name in names))
        labels = labels.without_stale()[0]
        for name in ("voc", "yolo-seg"):
            WRITERS[name](labels, tmp_path / name, "link")
        lists = tmp_path / "voc/ImageSets/Segmentation"
        for part in ("train", "val"):
            found = {path.stem for path in (tmp_path / f"yolo-seg/images/{part}").glob("*")}
            listed = set((lists / f"{part}.txt").read_text().split())
            assert found == listed or (part, found) == ("val", set())
            assert found == {path.stem for path in (tmp_path / f"yolo-seg/labels/{part}").glob("*")}
        data = yaml.safe_load((tmp_path / "yolo-seg/data.yaml").read_text())
        return {part: sorted(p.stem for p in (tmp_path / "yolo-seg" / data[part]).iterdir())
                for part in ("train", "val")}  # fmt: skip

    assert written("0") == {"train": ["0"], "val": ["0"]}  # one picture is both
    assert written("1") == {"train": ["1"], "val": ["0"]}  # the first stands in
    assert written(HELD_OUT) == {"train": ["0", "1"], "val": [HELD_OUT]}
    assert written("2") == {"train": ["0", "1", "2"], "val": [HELD_OUT]}
    (tmp_path / f"pictures/{HELD_OUT}.png").unlink()
    assert written("3") == {"train": ["1", "2", "3"], "val": ["0"]}


def test_a_picture_whose_line_was_cut_is_labelled_again(label: Label, tmp_path: Path) -> None:
    picture = draw(tmp_path / "pictures/a.png", 1)
    labels = label(picture)
    journal = labels.journal.path
    journal.write_text(journal.read_text()[:-9])
    assert label().names == []
    assert redone(label, picture) == ["a"] and label().names == ["a"]


def test_other_settings_are_refused_in_the_same_folder(label: Label, tmp_path: Path) -> None:
    label(draw(tmp_path / "pictures/a.png", 1))
    task = task_into(tmp_path / "out")
    with pytest.raises(UserError, match=r"made with classes 'cat, sky\|heaven', now it is 'cat'"):
        labelling_journal(replace(task, classes=CLASSES[:1]))
    with pytest.raises(UserError, match="made with min_area 1, now it is 2"):
        labelling_journal(replace(task, min_area=2))


def test_a_model_is_what_it_holds_not_what_it_is_called(label: Label, tmp_path: Path) -> None:
    made = label(draw(tmp_path / "pictures/a.png", 1))
    task = task_into(tmp_path / "out")
    model = tmp_path / "run"
    shutil.copytree(find_model("picturebook"), model)
    for typed in (model, f"{model}/"):
        journal = labelling_journal(replace(task, model=ModelSource(str(typed))))
        assert labels_of(journal).entries == made.entries
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match="made with another model"):
        labelling_journal(replace(task, model=ModelSource(str(model))))


def test_masks_of_somebody_else_are_not_overwritten(tmp_path: Path) -> None:
    draw(tmp_path / "masks/a.png", 1)
    with pytest.raises(UserError, match="masks holds files that label did not write"):
        labelling_journal(task_into(tmp_path))


def test_pictures_of_equal_names_share_a_folder(label: Label, tmp_path: Path) -> None:
    first = draw(tmp_path / "pictures/a.png", 1)
    label(first)
    second, third = draw(tmp_path / "pictures/a.jpg", 2), draw(tmp_path / "more/a.png", 3)
    for typed in ([second, third], [third, first, second]):
        found = {entry.name: entry.source for entry in label(*typed).entries}
        assert found == {"a": str(first), "a-2": str(second), "a-3": str(third)}


def test_large_pictures_go_through_the_network_one_by_one(
    segmenter: Segmenter, label: Label, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    segment_decoded = segmenter.segment_decoded
    monkeypatch.setattr(pipeline, "BATCH_PIXELS", 3 * 48 * 48)
    monkeypatch.setattr(
        segmenter,
        "segment_decoded",
        lambda images, query: batches.append(len(images)) or segment_decoded(images, query),
    )
    labels = label(*(draw(tmp_path / f"pictures/{index}.png", index) for index in range(7)))
    assert batches == [3, 3, 1]
    for entry, segments in labels.with_segments():
        with Image.open(labels.mask(entry.name)) as mask:
            labelled = np.asarray(mask) < 255
        assert labelled.sum() == sum(segment.area for segment in segments)
