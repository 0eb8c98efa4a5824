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
from cascade_clip.batch.label import Labeller, common_folder, jobs_of
from cascade_clip.batch.records import Store, open_store
from cascade_clip.batch.task import Task
from cascade_clip.checkpoint.locate import find_model
from cascade_clip.errors import UserError
from cascade_clip.picturebook import draw_scene

TASK = Task("picturebook", (("cat",), ("sky", "heaven")), 0.3, min_area=1)

HELD_OUT = "000003"
"""A name that is held out for validation."""

Label = Callable[..., Store]


def draw(path: Path, seed: int, size: tuple[int, int] = (48, 48)) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(draw_scene(seed, 0, size).image).save(path)
    return path


@pytest.fixture(scope="module")
def labeller(tmp_path_factory: pytest.TempPathFactory) -> Labeller:
    folder = tmp_path_factory.mktemp("none")
    return Labeller(TASK, open_store(TASK, folder, folder))


@pytest.fixture
def label(labeller: Labeller, tmp_path: Path) -> Label:
    """Labels pictures into one folder, those that are not done."""

    def call(*pictures: Path) -> Store:
        store = open_store(TASK, tmp_path / "out", tmp_path / "pictures")
        labeller.store = store
        jobs = [job for job in jobs_of(pictures, store) if not store.is_done(*job)]
        assert not any(result.error for result in labeller.label(jobs))
        return store

    return call


def test_a_changed_picture_is_labelled_again(label: Label, tmp_path: Path) -> None:
    picture = draw(tmp_path / "pictures/a.png", seed=1)
    store = label(picture)
    WRITERS["voc"](store, tmp_path / "voc", "copy")
    assert store.is_done(picture, "a")

    draw(picture, seed=2, size=(40, 60))
    assert not store.is_done(picture, "a")
    left, lines = store.without_stale()
    assert (len(left), list(left)) == (0, []) and "a.png has changed since" in lines[0]

    WRITERS["voc"](label(picture), tmp_path / "voc", "copy")
    assert (tmp_path / "voc/JPEGImages/a.png").read_bytes() == picture.read_bytes()
    with Image.open(tmp_path / "voc/SegmentationClass/a.png") as mask:
        assert mask.size == (60, 40)


def test_a_deleted_picture_is_left_out_of_what_is_written(label: Label, tmp_path: Path) -> None:
    pictures = [draw(tmp_path / f"pictures/{name}.png", 1) for name in "abc"]
    store = label(*pictures)
    WRITERS["yolo-seg"](store, tmp_path / "yolo-seg", "copy")
    WRITERS["voc"](store, tmp_path / "voc", "link")
    pictures[0].unlink()
    store.mask("b").unlink()
    left, (gone, no_mask) = store.without_stale()
    assert f"{pictures[0]} is gone" in gone and str(store.record("a")) in gone
    assert f"{store.mask('b')} is gone" in no_mask
    for name, write in WRITERS.items():
        if name != "parquet":
            write(left, tmp_path / name, "copy")
    content = json.loads((tmp_path / "coco/annotations/instances_default.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["c.png"]
    for part in ("yolo-seg/images", "yolo-seg/labels", "voc/JPEGImages"):
        assert [file.stem for file in (tmp_path / part).rglob("*.*")] == ["c"]
    assert not store.is_done(pictures[1], "b")


def test_voc_and_yolo_hold_back_the_same_pictures(label: Label, tmp_path: Path) -> None:
    def written(*names: str) -> dict[str, list[str]]:
        store = label(*(draw(tmp_path / f"pictures/{name}.png", 1) for name in names))
        store = store.without_stale()[0]
        for name in ("voc", "yolo-seg"):
            WRITERS[name](store, tmp_path / name, "link")
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


def test_damaged_records_are_made_again(label: Label, tmp_path: Path) -> None:
    picture = draw(tmp_path / "pictures/a.png", 1)
    store = label(picture)
    store.record("a").write_text("{")
    (store.out / "records/.half.json").write_text("{")
    assert "no record of a labelled picture" in store.without_stale()[1][0]
    assert [record.name for record in label(picture)] == ["a"]


def test_other_settings_are_refused_in_the_same_folder(label: Label, tmp_path: Path) -> None:
    store = label(draw(tmp_path / "pictures/a.png", 1))
    fewer = replace(TASK, classes=TASK.classes[:1])
    with pytest.raises(UserError, match=r"made with classes 'cat, sky\|heaven', now it is 'cat'"):
        open_store(fewer, store.out, store.root)
    with pytest.raises(UserError, match="made with min_area 1, now it is 2"):
        open_store(replace(TASK, min_area=2), store.out, store.root)


def test_a_model_is_what_it_holds_not_what_it_is_called(label: Label, tmp_path: Path) -> None:
    store = label(draw(tmp_path / "pictures/a.png", 1))
    model = tmp_path / "run"
    shutil.copytree(find_model("picturebook"), model)
    for typed in (model, f"{model}/"):
        assert open_store(replace(TASK, model=str(typed)), store.out, store.root) == store
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match="made with another model"):
        open_store(replace(TASK, model=str(model)), store.out, store.root)


def test_pictures_of_another_folder_are_refused_in_the_same_folder(
    label: Label, tmp_path: Path
) -> None:
    """They could have the names of those that are labelled."""
    store = label(draw(tmp_path / "pictures/a.png", 1))
    with pytest.raises(UserError, match="holds labels of pictures in"):
        open_store(TASK, store.out, tmp_path)
    assert open_store(TASK, store.out, store.root / "more").root == store.root


def test_masks_of_somebody_else_are_not_overwritten(tmp_path: Path) -> None:
    draw(tmp_path / "masks/a.png", 1)
    with pytest.raises(UserError, match="masks holds files that label did not write"):
        open_store(TASK, tmp_path, tmp_path)


def test_names_of_records_tell_pictures_apart(tmp_path: Path) -> None:
    store = open_store(TASK, tmp_path / "out", tmp_path)
    files = [tmp_path / part for part in ("a/x.png", "b/x.png", "b/y.png", "b/y.jpg")]
    assert [name for _, name in jobs_of(files, store)] == ["a__x", "b__x", "b__y_png", "b__y_jpg"]
    (tmp_path / "a").mkdir()
    assert common_folder([str(tmp_path / "a")], files[:1]) == tmp_path / "a"
    assert common_folder([str(tmp_path / "a")], files) == tmp_path
    inside = open_store(TASK, tmp_path / "out", tmp_path / "a")
    assert [name for _, name in jobs_of(files[:1], inside)] == ["x"]
    with pytest.raises(UserError, match="would both be called a__x_png; rename one"):
        jobs_of([*files[:1], tmp_path / "a/x.jpg", tmp_path / "a__x_png.gif"], store)


def test_a_picture_of_a_labelled_ones_name_gets_another(label: Label, tmp_path: Path) -> None:
    first = draw(tmp_path / "pictures/a.png", 1)
    label(first)
    second = draw(tmp_path / "pictures/a.jpg", 2)
    for typed in ([second], [first, second]):
        store = label(*typed)
        found = {record.name: record.picture for record in store}
        assert found == {"a": str(first), "a_jpg": str(second)}


def test_large_pictures_go_through_the_network_one_by_one(
    labeller: Labeller, label: Label, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    segment_batch = labeller.segmenter.segment_batch
    monkeypatch.setattr(pipeline, "BATCH_PIXELS", 3 * 48 * 48)
    monkeypatch.setattr(
        labeller.segmenter,
        "segment_batch",
        lambda images, query: batches.append(len(images)) or segment_batch(images, query),
    )
    store = label(*(draw(tmp_path / f"pictures/{index}.png", index) for index in range(7)))
    assert [size for size in batches if size] == [3, 3, 1]
    for record in store:
        with Image.open(store.mask(record.name)) as mask:
            labelled = np.asarray(mask) < 255
        assert labelled.sum() == sum(segment.area for segment in record.segments)
