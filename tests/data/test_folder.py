"""Data set folders, right and wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cascade_clip.config import Background, DataSettings
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.factory import open_dataset
from cascade_clip.data.folder import FolderDataset, read_folder_classes
from cascade_clip.data.pairs import read_mask
from cascade_clip.data.survey import survey
from cascade_clip.errors import UserError
from cascade_clip.picturebook import CLASSES, draw_scene
from cascade_clip.picturebook.export import export_voc

Change = Callable[[Path], object]
MANY = "sea\nboat\ncat\n" + "\n".join(f"class {number}" for number in range(252))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two pictures of 6 x 4 pixels, three classes; `b` is for validation."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (6, 4), (10, 20, 30)).save(tmp_path / "images" / f"{name}.png")
        mask = np.array([[0, 1, 2, 254, 255, 0]] * 4, np.uint8)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
        (tmp_path / f"{'train' if name == 'a' else 'val'}.txt").write_text(f"{name}\n")
    (tmp_path / "classes.txt").write_text("sea\nboat\n\n cat \n")
    (tmp_path / "split.yaml").write_text("unseen: [cat]\n")
    return tmp_path


def test_a_plain_folder(root: Path) -> None:
    dataset = FolderDataset(root, "train")
    assert dataset.classes.names == ("sea", "boat", "cat")
    assert dataset.classes.unseen == ("cat",)
    assert [sample.name for sample in (dataset[i] for i in range(len(dataset)))] == ["a"]
    assert stems(FolderDataset(root, "val")) == ["b"]
    sample = dataset[0]
    assert sample.image[:, 0, 0].tolist() == [10, 20, 30]
    assert sample.labels[0].tolist() == [0, 1, 2, 254, 255, 0]
    assert (sample.image.shape, sample.labels.shape) == ((3, 4, 6), (4, 6))


def test_the_exported_picture_book(tmp_path: Path) -> None:
    export_voc(tmp_path / "book", count=6, seed=3, size=32)
    dataset = FolderDataset(tmp_path / "book", "train")
    assert dataset.classes.names == CLASSES
    assert (len(dataset), len(FolderDataset(tmp_path / "book", "val"))) == (5, 1)
    scene = draw_scene(3, 1, 32)
    assert torch.equal(dataset[1].labels, torch.from_numpy(scene.mask))
    shift = (dataset[1].image.permute(1, 2, 0).float() - torch.from_numpy(scene.image)).abs().mean()
    assert shift < 8  # JPEG


def test_without_lists_one_in_ten_is_held_out(root: Path) -> None:
    for name in ("train", "val"):
        (root / f"{name}.txt").unlink()
    for i in range(200):
        Image.new("RGB", (6, 4)).save(root / "images" / f"p{i}.jpg")
        Image.new("L", (6, 4)).save(root / "masks" / f"p{i}.png")
    train = set(stems(FolderDataset(root, "train")))
    val = set(stems(FolderDataset(root, "val")))
    assert not train & val
    assert len(train | val) == 202
    assert 8 <= len(val) <= 35


def test_without_lists_there_is_always_something_to_train_and_to_test_on(root: Path) -> None:
    for name in ("train", "val"):
        (root / f"{name}.txt").unlink()
    assert (stems(FolderDataset(root, "train")), stems(FolderDataset(root, "val"))) == (
        ["b"],
        ["a"],
    )
    (root / "images" / "b.png").unlink()
    assert stems(FolderDataset(root, "train")) == stems(FolderDataset(root, "val")) == ["a"]


def test_without_lists_files_that_are_not_read_are_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "val"):
        (root / f"{name}.txt").unlink()
    (root / "images" / "raw.DNG").touch()
    FolderDataset(root, "train")
    assert "left out: raw pictures can't be read" in capsys.readouterr().err


def test_calibration_takes_a_list_of_its_own(root: Path) -> None:
    for part in ("val", "test"):
        assert stems(FolderDataset(root, part)) == ["b"]
    wanted = r"no part 'calibration', only the picture book draws one; .*calibration\.txt"
    with pytest.raises(UserError, match=wanted):
        FolderDataset(root, "calibration")
    for folder in ("images", "masks"):
        (root / folder / "c.png").write_bytes((root / folder / "a.png").read_bytes())
    (root / "calibration.txt").write_text("c\n")
    assert stems(FolderDataset(root, "calibration")) == ["c"]


def test_hidden_files_are_no_pictures(root: Path) -> None:
    for name in ("train", "val"):
        (root / f"{name}.txt").unlink()
    for number in range(40):  # as macOS leaves them, one beside each picture
        (root / "images" / f"._{number}.png").write_bytes(b"resource fork")
    for folder in ("images", "masks"):  # that name is held out
        (root / folder / "a.png").rename(root / folder / "p11.png")
    surveyed = survey(root)
    assert not surveyed.problems
    assert stems(FolderDataset(root, "train")) == ["b"]
    assert stems(FolderDataset(root, "val")) == ["p11"]
    assert FolderDataset(root, "val").pairs == surveyed.parts["val"]


def test_byte_order_marks_are_no_part_of_names(root: Path) -> None:
    expected = FolderDataset(root, "train")
    for name in ("classes.txt", "split.yaml", "train.txt", "val.txt"):
        text = (root / name).read_text()
        (root / name).write_text(text, encoding="utf-8-sig")
    found = FolderDataset(root, "train")
    assert (found.classes, found.pairs) == (expected.classes, expected.pairs)


def test_palette_masks_hold_indices_not_colours(tmp_path: Path) -> None:
    mask = Image.fromarray(np.array([[0, 3], [255, 1]], np.uint8))
    mask.putpalette([7] * 768)
    mask.save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").tolist() == [[0, 3], [255, 1]]


def test_254_classes_are_taken(root: Path) -> None:
    (root / "classes.txt").write_text(MANY.rpartition("\n")[0])
    Image.new("I;16", (6, 4), 253).save(root / "masks" / "a.png")
    assert FolderDataset(root, "train")[0].labels.unique().tolist() == [253]


def test_turned_photographs_fit_their_masks(root: Path) -> None:
    picture = Image.new("RGB", (4, 6))
    exif = picture.getexif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    (root / "images" / "a.png").unlink()
    picture.save(root / "images" / "a.jpg", exif=exif)
    assert FolderDataset(root, "train")[0].image.shape == (3, 4, 6)


def test_names_from_yaml(root: Path) -> None:
    (root / "classes.txt").unlink()
    (root / "classes.yaml").write_text("[sea, motor boat, cat]")
    assert read_folder_classes(root).names == ("sea", "motor boat", "cat")


def test_splits_and_synonyms_by_name(root: Path) -> None:
    (root / "split.yaml").write_text("splits: {easy: {unseen: [cat]}, hard: {unseen: [sea, cat]}}")
    assert FolderDataset(root, "train", split="hard").classes.unseen == ("sea", "cat")
    with pytest.raises(UserError, match=r"unknown split 'standard'.*; there are easy, hard"):
        FolderDataset(root, "train")
    (root / "classes.txt").unlink()
    (root / "classes.yaml").write_text("{names: [sea, boat, cat], synonyms: {sea: open sea}}")
    classes = FolderDataset(root, "train", split="easy", synonyms=True).classes
    assert (classes.names[0], classes.prompts[0], classes.unseen) == ("sea", "open sea", ("cat",))


def test_splits_are_said_in_one_place(root: Path) -> None:
    (root / "classes.txt").unlink()
    listed = "{names: [sea, boat, cat], splits: {standard: {unseen: [sea]}}}"
    (root / "classes.yaml").write_text(listed)
    with pytest.raises(UserError, match="both name splits"):
        FolderDataset(root, "train")
    (root / "split.yaml").unlink()
    assert FolderDataset(root, "train").classes.unseen == ("sea",)


def test_pictures_in_subfolders(root: Path) -> None:
    for number in range(20):
        for folder in ("images", "masks"):
            place = root / folder / f"park {number % 2}"
            place.mkdir(exist_ok=True)
            shutil.copy(root / folder / "a.png", place / f"{number}.png")
    (root / "train.txt").write_text("a\npark 0/0\npark 1/1\n")
    dataset = FolderDataset(root, "train")
    assert [dataset[1].name, dataset[2].name] == ["0", "1"]
    assert dataset.pairs[2].mask == root / "masks/park 1/1.png"
    assert survey(root).parts["train"] == dataset.pairs
    for name in ("train", "val"):
        (root / f"{name}.txt").unlink()
    parts = [FolderDataset(root, part).pairs for part in ("train", "val")]
    assert sum(map(len, parts)) == 22 and all(parts)
    assert [survey(root).parts["train"], survey(root).parts["val"]] == parts


@pytest.mark.parametrize(
    ("background", "names", "labels"),
    [
        (None, ("sea", "boat", "cat"), [0, 1, 2, 254, 255, 0]),
        ("ignore", ("sea", "boat", "cat"), [255, 0, 1, 254, 255, 255]),
        ("class", ("background", "sea", "boat", "cat"), [0, 1, 2, 254, 255, 0]),
    ],
)
def test_what_0_means(
    root: Path, background: Background | None, names: tuple[str, ...], labels: list[int]
) -> None:
    dataset = FolderDataset(root, "train", background=background)
    assert dataset.classes.names == names
    assert dataset.classes.background == (background == "class")
    assert dataset[0].labels[0].tolist() == labels
    settings = DataSettings(name="folder", root=root, background=background)
    assert open_dataset(settings, "train").classes == dataset.classes


def test_masks_with_a_background_the_list_lacks(root: Path) -> None:
    for suffix in (np.uint8, np.uint16):
        mask = np.array([[0, 1, 2, 3, 255, 0]] * 4, suffix)
        Image.fromarray(mask).save(root / "masks/a.png")
        with pytest.raises(
            UserError, match=r"label 3, .*0 to 2.*set data\.background to ignore or"
        ):
            FolderDataset(root, "train")[0]
        for background, last in (("ignore", 2), ("class", 3)):
            dataset = FolderDataset(root, "train", background=background)
            assert dataset[0].labels.unique().tolist()[-2:] == [last, 255]
    Image.new("L", (6, 4), 4).save(root / "masks/a.png")
    with pytest.raises(UserError, match=r"label 4, but 3 classes allow only 0 to 3, [^;]*$"):
        FolderDataset(root, "train", background="ignore")[0]


def test_a_background_that_the_list_has_already(root: Path) -> None:
    (root / "classes.txt").write_text("background\nboat\ncat\n")
    with pytest.raises(UserError, match=r"background as a class of its own: .*must not repeat"):
        FolderDataset(root, "train", background="class")


def stems(dataset: FolderDataset) -> list[str]:
    return [pair.picture.stem for pair in dataset.pairs]


def save(picture: Image.Image, name: str) -> Change:
    return lambda root: picture.save(root / name)


def write(name: str, text: str) -> Change:
    return lambda root: (root / name).write_text(text)


def remove(name: str) -> Change:
    return lambda root: (root / name).unlink()


def rename(name: str, to: str) -> Change:
    return lambda root: (root / name).rename((root / name).with_name(to))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("classes.txt"), r"no classes\.txt or classes\.yaml; list its class names there"),
        (rename("classes.txt", "class_names.txt"), r"class_names\.txt is labelme's: .* --from"),
        (write("classes.yaml", "[sea]"), r"has classes\.txt and classes\.yaml; keep one"),
        (write("classes.txt", ""), r"classes\.txt is empty; list the class names"),
        (write("classes.txt", "a\nA\n"), r"classes\.txt: .*must not repeat, got 'a' and 'A'"),
        (write("classes.txt", MANY), "255 classes; data sets of files have at most 254"),
        (write("split.yaml", "unseen: [dog]"), "unseen dog: not among"),
        (write("split.yaml", "unsen: [cat]"), r"split\.yaml must hold `unseen: \[names\]`"),
        (write("split.yaml", "unseen: cat"), "expected a list"),
        (write("split.yaml", "unseen: [sea, boat, cat]"), r"split\.yaml: .*every class is unseen"),
        (write("split.yaml", "unseen: ["), "not valid YAML"),
        (write("train.txt", ""), "no train pictures"),
        (write("train.txt", "zebra"), "names zebra, but"),
        (remove("train.txt"), "list the picture names of both train and val, or neither"),
        (remove("masks/a.png"), r"1 of 1 pictures have no mask, among them .*a\.png"),
        (rename("masks/a.png", "a.PNG"), r"a\.png; a\.PNG lies beside it: rename it"),
        (rename("masks/a.png", "a.npy"), r"a\.npy lies beside it: save its labels as a PNG"),
        (rename("masks/a.png", "a.JPG"), r"a\.JPG lies beside it: save its labels as a PNG"),
        (save(Image.new("RGB", (6, 4)), "images/a.jpg"), r"a\.png and a\.jpg share a name"),
    ],
)
def test_bad_folders_fail_when_opened(root: Path, change: Change, message: str) -> None:
    change(root)
    with pytest.raises(UserError, match=message):
        FolderDataset(root, "train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (save(Image.new("L", (5, 4)), "masks/a.png"), "5 x 4 pixels, its picture .* 6 x 4"),
        (
            save(Image.new("L", (6, 4), 3), "masks/a.png"),
            "label 3, but 3 classes allow only 0 to 2",
        ),
        (save(Image.new("I;16", (6, 4), 300), "masks/a.png"), "label 300, but 3 classes allow"),
        (save(Image.new("RGB", (6, 4)), "masks/a.png"), "holds colours"),
        (write("masks/a.png", "no picture"), r"mask .*a\.png is not a picture"),
        (write("images/a.png", "no picture"), r"a\.png"),
    ],
)
def test_bad_files_fail_when_read(root: Path, change: Change, message: str) -> None:
    change(root)
    with pytest.raises(UserError, match=message):
        FolderDataset(root, "train")[0]


def test_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected the folders images/ and masks/"):
        FolderDataset(tmp_path, "train")


def test_a_recipe_for_ones_own_pictures_asks_for_their_folder(root: Path) -> None:
    with pytest.raises(UserError, match=r"need their folder: data\.root=DIR"):
        open_dataset(load_recipe("zegclip/folder").data, "test")
    recipe = load_recipe("zegclip/folder", [f"data.root={root}"])
    assert len(open_dataset(recipe.data, "test")) > 0
