"""`check`: all that is wrong with a data set, and what its masks hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_clip.config import PreparedName
from cascade_clip.data.check import CheckReport, check
from cascade_clip.data.folder import FolderDataset
from cascade_clip.data.survey import survey
from cascade_clip.errors import UserError
from cascade_clip.picturebook.export import export_voc
from tests.damaged import damaged_avif
from tests.data.trees import write_prepared

NAMES = ("a", "b", "c")


def run(root: Path, name: PreparedName | None = None, jobs: int = 1) -> CheckReport:
    return check(survey(root, name), jobs, lambda *_: None)


def found(report: CheckReport) -> dict[str, list[str]]:
    """Names of the files with problems, by kind."""
    kinds: dict[str, list[str]] = {}
    for problem in report.problems:
        kinds.setdefault(problem.kind, []).append(problem.file.name)
    return kinds


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Pictures of 6 x 4 pixels: `a` and `b` to train on, `c` for validation."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in NAMES:
        Image.new("RGB", (6, 4), (10, 20, 30)).save(tmp_path / "images" / f"{name}.png")
        mask = np.array([[0, 1, 1, 254, 255, 255]] * 4, np.uint8)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "val.txt").write_text("c\n")
    (tmp_path / "classes.txt").write_text("sea\nboat\ncat\n")
    (tmp_path / "split.yaml").write_text("unseen: [cat]\n")
    return tmp_path


def test_a_sound_folder_and_what_it_holds(root: Path) -> None:
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(root / "masks/b.png")
    report = run(root)
    assert not report.problems
    train, val = report.contents["train"], report.contents["val"]
    assert (train.pictures, train.pixels, train.ignored, train.unlabelled) == (2, 48, 8, 4)
    assert dict(train.class_pixels) == {"sea": 4 + 24, "boat": 8}
    assert dict(train.class_pictures) == {"sea": 2, "boat": 1}
    assert dict(val.class_pixels) == {"sea": 4, "boat": 8}
    assert report.notes == [
        "train: no pixel of cat",
        "val: no pixel of cat",
        "no mask holds the last name, cat: are labels shifted? 0 is read as sea",
    ]
    whole = Image.fromarray(np.full((4, 6), 2, np.uint8))
    whole.save(root / "masks/b.png")
    assert run(root).notes == ["val: no pixel of cat"]


def test_everything_that_is_wrong_is_told_at_once(root: Path) -> None:
    images, masks = root / "images", root / "masks"
    for name in ("cut", "colours", "beyond", "smaller", "16-bit", "no-mask"):
        Image.new("RGB", (6, 4)).save(images / f"{name}.png")
        Image.new("L", (6, 4)).save(masks / f"{name}.png")
    (images / "cut.png").write_bytes((images / "cut.png").read_bytes()[:43])
    (masks / "cut.png").write_bytes((masks / "cut.png").read_bytes()[:43])
    Image.new("RGB", (6, 4)).save(masks / "colours.png")
    Image.new("L", (6, 4), 3).save(masks / "beyond.png")
    Image.new("L", (4, 6)).save(masks / "smaller.png")
    Image.fromarray(np.full((4, 6), 700, np.uint16)).save(masks / "16-bit.png")
    (masks / "no-mask.png").unlink()
    Image.new("L", (6, 4)).save(masks / "stranger.png")
    Image.new("RGB", (6, 4)).save(images / "a.jpg")
    names = ["a", "b", "b", "ghost", *("cut", "colours", "beyond", "smaller", "16-bit", "no-mask")]
    (root / "train.txt").write_text("\n".join(names))
    (root / "val.txt").write_text("c\nb\n")
    report = run(root)
    assert found(report) == {
        "label out of range": ["16-bit.png", "beyond.png"],
        "list": ["a.png", "train.txt", "val.txt"],
        "mask without picture": ["stranger.png"],
        "missing mask": ["no-mask.png"],
        "missing picture": ["train.txt"],
        "sizes differ": ["smaller.png"],
        "unreadable mask": ["colours.png", "cut.png"],
        "unreadable picture": ["cut.png"],
    }
    told = "\n".join(problem.message for problem in report.problems)
    assert "lists b 2 times" in told
    assert "lists ghost" in told
    assert "b is listed for training and for validation" in told
    assert "holds 3 (24 pixels); 3 classes allow 0 to 2" in told
    assert "is 4 x 6 pixels, its picture smaller.png 6 x 4" in told


def test_masks_numbered_from_1(root: Path) -> None:
    (root / "classes.txt").write_text("boat\n")
    (root / "split.yaml").unlink()
    report = run(root)
    assert found(report) == {"label out of range": ["a.png", "b.png", "c.png"]}
    assert "labels go up to 1: if 0 is the background and 1 the first" in report.notes[0]
    report = check(survey(root, background="ignore"), 1, lambda *_: None)
    assert not report.problems and not report.notes
    train = report.contents["train"]
    assert (train.class_pixels["boat"], train.ignored, train.unlabelled) == (16, 24, 8)
    report = check(survey(root, background="class"), 1, lambda *_: None)
    assert report.contents["train"].class_pixels == {"background": 8, "boat": 16}
    Image.fromarray(np.full((4, 6), 2, np.uint8)).save(root / "masks/b.png")
    report = check(survey(root, background="ignore"), 1, lambda *_: None)
    assert "b.png holds 2 (24 pixels); 1 classes allow 0 to 1," in report.problems[0].message
    assert not any("labels go up" in note for note in report.notes)


def test_a_mask_of_another_format_and_one_in_a_subfolder(root: Path) -> None:
    (root / "masks/a.png").rename(root / "masks/a.tif")
    (root / "masks/old").mkdir()
    (root / "masks/b.png").rename(root / "masks/old/b.png")
    report = run(root)
    assert found(report) == {"mask without picture": ["b.png"], "missing mask": ["a.png", "b.png"]}
    told = [problem.message for problem in report.problems]
    assert any("a.tif lies beside it: save its labels as a PNG" in message for message in told)


def test_pictures_far_longer_than_wide_are_refused_before_they_are_scaled(root: Path) -> None:
    for width in (400, 404):
        Image.new("RGB", (width, 4)).save(root / "images" / "long.png")
        Image.new("L", (width, 4)).save(root / "masks" / "long.png")
        (root / "train.txt").write_text("long\n")
        allowed = width <= 100 * 4
        assert ("unreadable picture" not in found(run(root))) == allowed
        with nullcontext() if allowed else pytest.raises(UserError, match="404 x 4 pixels"):
            FolderDataset(root, "train")[0]


def test_a_file_name_that_is_not_utf_8(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for name in (b"caf\xe9.png", b"b.png", b"d.png"):
            Image.new("L", (6, 4)).save(tmp_path / folder / os.fsdecode(name))
    (tmp_path / "images" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"no picture")
    (tmp_path / "classes.txt").write_text("cafe\u0301\n", encoding="utf-8")
    report = run(tmp_path)
    assert report.classes is not None and report.classes.names == ("caf\u00e9",)
    report.write(tmp_path / "report.json")
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    files = [Path(problem["file"]) for problem in written["problems"]]
    assert tmp_path / "images" / os.fsdecode(b"caf\xe9.png") in files


def test_class_names_that_make_no_sense(root: Path) -> None:
    (root / "classes.txt").write_text("sea\nsea\n")
    Image.new("L", (1, 1)).save(root / "masks/a.png")
    report = run(root)
    assert set(found(report)) == {"classes", "sizes differ"}
    assert report.contents["train"].pixels == 1 + 24


def test_splits_of_any_name(root: Path) -> None:
    splits = "splits: {easy: {unseen: [cat]}, hard: {unseen: [sea]}}"
    (root / "split.yaml").write_text(splits)
    report = run(root)
    assert not report.problems
    assert report.classes is not None and report.classes.unseen == ("cat",)
    (root / "split.yaml").write_text(splits.replace("hard", "standard"))
    assert survey(root).classes == FolderDataset(root, "train").classes


def test_more_classes_than_labels(root: Path) -> None:
    (root / "classes.txt").write_text("cat\n" + "\n".join(f"class {n}" for n in range(254)))
    report = run(root)
    assert found(report) == {"classes": [root.name]}
    assert "255 classes; data sets of files have at most 254" in report.problems[0].message


def test_calibration_pictures_are_for_nothing_else(root: Path) -> None:
    (root / "calibration.txt").write_text("b\nc\n")
    report = run(root)
    assert found(report) == {"list": ["calibration.txt", "calibration.txt"]}
    assert [problem.message for problem in report.problems] == [
        "b is listed for training and for calibration",
        "c is listed for validation and for calibration",
    ]
    (root / "train.txt").write_text("a\n")
    (root / "calibration.txt").write_text("b\n")
    report = run(root)
    assert not report.problems
    assert {part: held.pictures for part, held in report.contents.items()} == {
        "train": 1, "val": 1, "calibration": 1
    }  # fmt: skip
    (root / "calibration.txt").write_text("")
    assert "no calibration pictures" in run(root).problems[0].message


@pytest.mark.parametrize("name", ["train", "val"])
def test_one_list_without_the_other(root: Path, name: str) -> None:
    (root / f"{name}.txt").unlink()
    report = run(root)
    assert f"{name}.txt" in found(report)["list"]
    assert any(f"no {name} pictures" in problem.message for problem in report.problems)


def test_without_lists_the_split_is_that_of_training(tmp_path: Path) -> None:
    export_voc(tmp_path, count=40, seed=3, size=32)
    for path in (tmp_path / "ImageSets/Segmentation").iterdir():
        path.unlink()
    parts = survey(tmp_path).parts
    assert parts["train"] == FolderDataset(tmp_path, "train").pairs
    assert parts["val"] == FolderDataset(tmp_path, "val").pairs
    assert not run(tmp_path).problems


def test_pictures_in_no_list_are_read_too(root: Path) -> None:
    (root / "train.txt").write_text("a\n")
    (root / "images/b.png").write_bytes(b"no picture")
    report = run(root)
    assert found(report) == {"unreadable picture": ["b.png"]}
    assert report.contents["unlisted"].pictures == 1


def test_prepared_data(tmp_path: Path) -> None:
    write_prepared(tmp_path, "context59")
    report = run(tmp_path, "context59")
    expected = [p for p in report.problems if "for training and for validation" not in p.message]
    assert not expected
    folder = tmp_path / "cascade-clip/context59"
    Image.new("L", (64, 48), 59).save(folder / "masks/0.png")
    (tmp_path / "pictures/1.png").unlink()
    Image.new("L", (9, 9)).save(folder / "masks/left.png")
    kinds = found(run(tmp_path, "context59"))
    assert kinds["label out of range"] == ["0.png"]
    assert kinds["missing picture"] == ["1.png"]
    assert "left.png" in kinds["mask without picture"]
    (folder / "prepared.json").unlink()
    report = run(tmp_path, "context59")
    assert "run: cascade-clip prepare context" in report.problems[0].message


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        survey(tmp_path / "missing")
    with pytest.raises(UserError, match=r"expected the folders images/ and masks/"):
        survey(tmp_path)
    with pytest.raises(UserError, match="run: cascade-clip prepare voc"):
        survey(tmp_path, "voc20")
    write_prepared(tmp_path, "voc20")
    with pytest.raises(UserError, match="add --name voc20"):
        survey(tmp_path)


def test_no_damage_is_a_crash(root: Path) -> None:
    generator = np.random.default_rng(0)
    pictures = {form: root / f"images/a.{form}" for form in ("jpg", "png")}
    Image.fromarray(generator.integers(0, 256, (32, 32, 3), np.uint8)).save(pictures["jpg"])
    (root / "images/a.png").unlink()
    mask = Image.fromarray(generator.integers(0, 3, (32, 32), np.uint8), mode="P")
    mask.putpalette(generator.integers(0, 256, 768, np.uint8).tobytes())
    mask.save(root / "masks/a.png")
    sound = {path: path.read_bytes() for path in (pictures["jpg"], root / "masks/a.png")}
    for path, content in sound.items():
        for _ in range(150):
            damaged = bytearray(content)
            for place in generator.integers(0, len(content), generator.integers(1, 30)):
                damaged[place] = generator.integers(256)
            path.write_bytes(damaged[: generator.integers(1, len(content) + 1)])
            run(root)
        path.write_bytes(content)


def test_the_command(root: Path) -> None:
    (root / "images/b.png").write_bytes(damaged_avif())  # told by its content
    arguments = ["check", str(root), "--json", str(root / "report.json"), "--jobs", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "cascade_clip", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert "unreadable picture" in done.stderr and "no problems" not in done.stdout
    assert "Traceback" not in done.stderr
    content = json.loads((root / "report.json").read_text())
    assert [problem["kind"] for problem in content["problems"]] == ["unreadable picture"]
    assert content["parts"]["val"]["classes"]["boat"] == {"pixels": 8, "pictures": 1}
    rows = [line.split() for line in done.stdout.splitlines() if "boat" in line]
    assert rows and "33.33" in rows[0]
