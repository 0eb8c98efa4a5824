"""`segment` as a person calls it."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from cascade_clip.checkpoint.native import save_model
from cascade_clip.cli.app import main
from cascade_clip.clip.load import load_clip
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.picturebook import CLASSES, UNSEEN, draw_scene
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.recipes import load_recipe


@pytest.fixture(scope="module")
def model(tiny_overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    recipe = load_recipe("picturebook-inductive", tiny_overrides)
    clip = load_clip(recipe.model.clip)
    network = SegmentationNetwork(clip.visual, recipe.model)
    folder = tmp_path_factory.mktemp("run") / "model"
    return save_model(folder, network, recipe, ClassSet(CLASSES, UNSEEN), clip)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(draw_scene(3, index, (40, 48)).image).save(folder / f"scene-{index}.png")
    return folder


class Call(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


Segment = Callable[..., Call]


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Segment:
    """`cascade-clip segment ARGUMENTS` within this process."""

    def call(*arguments: str | Path) -> Call:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["cascade-clip", "segment", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        code = caught.value.code
        assert isinstance(code, int)
        return Call(code, *capsys.readouterr())

    return call


def test_a_folder_with_bad_files_among_good_ones(
    model: Path, photos: Path, segment: Segment
) -> None:
    (photos / "zero.png").write_bytes(b"")
    (photos / "text.jpg").write_text("no picture")
    out = photos.parent / "out"
    options = ["--classes", "cat, grass|lawn, 고양이", "--save", "overlay, labels,coco,npz"]
    done = segment(photos, "--model", model, "--out", out, *options)
    assert done.returncode == 1, done.stderr
    assert "skipped" in done.stderr and "zero.png" in done.stderr and "text.jpg" in done.stderr
    assert "Traceback" not in done.stderr
    assert "lawn" not in done.stdout  # named by the first of its names
    assert "고양이" in done.stdout and str(out) in done.stdout
    written = {file.name for file in out.iterdir()}
    results = ("overlay.png", "labels.png")
    expected = {f"scene-{i}-{kind}" for i in range(2) for kind in results}
    assert written == expected | {"scene-0.npz", "scene-1.npz", "coco.json"}
    record = json.loads((out / "coco.json").read_text())
    assert [image["file_name"] for image in record["images"]] == ["scene-0.png", "scene-1.png"]
    assert sum(annotation["area"] for annotation in record["annotations"]) == 2 * 40 * 48
    with Image.open(out / "scene-1-labels.png") as image:
        labels = np.load(out / "scene-1.npz")["labels"]
        assert np.array_equal(np.asarray(image), labels)


def test_background_and_quiet(model: Path, photos: Path, segment: Segment) -> None:
    out = photos.parent / "out"
    done = segment(
        photos / "scene-0.png", "--model", model, "--classes", "cat", "--threshold", "1.0",
        "--save", "labels", "--out", out, "--quiet",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(out / "scene-0-labels.png") as image:
        assert (np.asarray(image) == 255).any()


@pytest.mark.parametrize(
    ("pictures", "options", "message"),
    [
        ("nowhere.png", [], "no such picture"),
        ("empty.png", [], "empty (0 bytes)"),
        (".", ["--classes", " , "], "no class names"),
        (".", ["--classes", "cat, Cat"], "twice"),
        (".", ["--classes", "cat,\u200b"], "empty class name"),
        (".", ["--classes", "cat", "--save", "gif"], "--save takes"),
        (".", ["--classes", "cat", "--threshold", "2"], "between 0 and 1"),
        (".", ["--classes", "cat", "--model", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_take_one_line_and_exit_code_2(
    model: Path, photos: Path, segment: Segment, pictures: str, options: list[str], message: str
) -> None:
    if pictures == "empty.png":
        (photos / pictures).write_bytes(b"")
    out = photos.parent / "out"
    done = segment(photos / pictures, "--model", model, "--out", out, *options)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not out.exists()


def test_an_output_folder_that_is_a_file(model: Path, photos: Path, segment: Segment) -> None:
    blocked = photos.parent / "blocked"
    blocked.write_text("")
    done = segment(photos, "--model", model, "--classes", "cat", "--out", blocked, "--quiet")
    assert done.returncode == 2
    assert "can't write" in done.stderr


def test_as_a_program_of_its_own(photos: Path) -> None:
    code = "from cascade_clip.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "segment", str(photos), "--classes", "cat,, Cat"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "error: class name 'Cat' is given twice; name each class once\n"


def test_help_and_mistakes_do_not_wait_for_torch() -> None:
    code = "import sys, cascade_clip.cli.segment; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
