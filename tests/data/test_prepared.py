"""Prepared data sets: what `cascade-clip prepare` leaves is what training and evaluation read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cascade_clip.config import DataSettings
from cascade_clip.data.class_lists import load_class_list
from cascade_clip.data.factory import open_dataset
from cascade_clip.data.prepared import PREPARED_NAMES, PreparedDataset
from cascade_clip.errors import UserError
from cascade_clip.picturebook import CLASSES, draw_scene
from tests.data.trees import BOOK, SIZES, write_prepared

Change = Callable[[Path], object]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_prepared(tmp_path, "context59")


@pytest.mark.parametrize("name", [n for n in PREPARED_NAMES if n not in ("ade847", "context459")])
def test_each_data_set_by_name(name: str, tmp_path: Path) -> None:
    write_prepared(tmp_path, name)  # type: ignore[arg-type]
    settings = DataSettings.model_validate({"name": name, "root": tmp_path})
    train, test = open_dataset(settings, "train"), open_dataset(settings, "test")
    assert train.classes == load_class_list(name).class_set()
    assert [train[i].name for i in range(len(train))] == ["0", "1", "2"]
    assert [test[i].name for i in range(len(test))] == ["2", "3"]
    assert len(open_dataset(settings, "val", 1)) == 1


def test_pictures_keep_their_sizes_and_labels_their_names(root: Path) -> None:
    dataset = PreparedDataset(root, "context59", "train")
    for index, size in enumerate(SIZES[:3]):
        sample = dataset[index]
        assert sample.image.shape == (3, *size)
        assert sample.labels.shape == size
        scene = draw_scene(BOOK, index, 64).mask[: size[0], : size[1]]
        names = dataset.classes.names
        expected = {CLASSES[label] for label in np.unique(scene)} & set(names)
        shown = {names[label] for label in sample.labels.unique().tolist() if label != 255}
        assert shown == expected


def test_the_split_of_the_classes(root: Path) -> None:
    settings = DataSettings(name="context59", root=root, split="released", synonyms=True)
    classes = open_dataset(settings, "train").classes
    assert classes == load_class_list("context59").class_set("released", synonyms=True)
    assert "potted plant" in classes.prompts
    with pytest.raises(UserError, match="there are standard, released"):
        open_dataset(settings.model_copy(update={"split": "hard"}), "train")
    with pytest.raises(UserError, match="there are standard"):
        open_dataset(DataSettings(split="released"), "train")  # the picture book has one split


def test_the_names_of_methods_without_training(tmp_path: Path) -> None:
    write_prepared(tmp_path, "voc21")
    classes = open_dataset(DataSettings(name="voc21", root=tmp_path, names="sclip"), "val").classes
    assert (len(classes.names), len(classes.class_of_name), classes.background) == (21, 56, True)
    with pytest.raises(UserError, match=r"unknown names 'sclip' \(data\.names\)"):
        open_dataset(DataSettings(names="sclip"), "val")  # the picture book has its own alone


def test_calibration_takes_a_list_of_its_own(root: Path) -> None:
    with pytest.raises(UserError, match="no part 'calibration', only the picture book draws one"):
        PreparedDataset(root, "context59", "calibration")
    path = root / "cascade-clip" / "context59" / "calibration.txt"
    path.write_text("pictures/1.png\tmasks/1.png\n")
    dataset = PreparedDataset(root, "context59", "calibration")
    assert [pair.picture.name for pair in dataset.pairs] == ["1.png"]
    path.write_text("pictures/1.png\n")
    with pytest.raises(UserError, match=r"PICTURE<tab>MASK; write lines as in val\.txt"):
        PreparedDataset(root, "context59", "calibration")


def test_one_data_set_lies_beside_another(root: Path) -> None:
    write_prepared(root, "voc20")
    context = PreparedDataset(root, "context59", "train")[0]
    voc = PreparedDataset(root, "voc20", "train")[0]
    assert torch.equal(context.image, voc.image)
    assert not torch.equal(context.labels, voc.labels)


def write(name: str, text: str) -> Change:
    return lambda folder: (folder / name).write_text(text)


def remove(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("prepared.json"), "holds no prepared context59"),
        (write("prepared.json", "{"), r"prepared\.json is damaged"),
        (
            write("prepared.json", '{"name": "voc20", "version": 1, "counts": {}}'),
            "describes voc20, version 1, expected context59",
        ),
        (
            write("prepared.json", '{"name": "context59", "version": 2, "counts": {}}'),
            "version 2, expected context59, version 1",
        ),
        (write("train.txt", "pictures/0.png\tmasks/0.png\n"), r"lists 1 pictures, .* says 3"),
        (write("train.txt", ""), r"lists 0 pictures"),
        (write("train.txt", "pictures/0.png masks/0.png\n"), "expected PICTURE<tab>MASK"),
    ],
)
def test_unfinished_preparations_name_the_command(root: Path, change: Change, message: str) -> None:
    change(root / "cascade-clip" / "context59")
    with pytest.raises(UserError, match=message) as caught:
        PreparedDataset(root, "context59", "train")
    assert str(caught.value).endswith(f"; run: cascade-clip prepare context {root}")


def test_files_that_have_gone_are_found_before_training(root: Path) -> None:
    mask = root / "cascade-clip" / "context59" / "masks" / "1.png"
    mask.unlink()
    with pytest.raises(UserError, match=f"1 of 3 pictures have no mask, among them {mask}"):
        PreparedDataset(root, "context59", "train")
    PreparedDataset(root, "context59", "val")  # doesn't need it
    (root / "pictures" / "3.png").unlink()
    with pytest.raises(UserError, match="1 of 2 picture files are missing"):
        PreparedDataset(root, "context59", "val")


def test_a_mask_of_another_data_set_is_found_when_read(root: Path) -> None:
    path = root / "cascade-clip" / "context59" / "masks" / "0.png"
    Image.new("L", SIZES[0][::-1], 59).save(path)
    with pytest.raises(UserError, match="label 59, but 59 classes allow only 0 to 58"):
        PreparedDataset(root, "context59", "train")[0]


def test_without_a_root() -> None:
    with pytest.raises(UserError, match=r"coco-stuff needs its folder: data\.root=DIR"):
        open_dataset(DataSettings(name="coco-stuff"), "train")
