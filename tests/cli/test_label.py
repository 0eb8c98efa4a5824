from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from cascade_clip.picturebook.export import export_voc
from tests.damaged import damaged_avif

COMMAND = [sys.executable, "-m", "cascade_clip", "label"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=500, env=environment
    )


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    export_voc(folder, 3, seed=1, size=48)
    return folder / "JPEGImages"


def test_it_labels_once_and_reports_what_it_could_not_read(scenes: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.avif"
    broken.write_bytes(damaged_avif())
    long = tmp_path / "long.png"
    Image.new("RGB", (900, 7)).save(long)
    out = tmp_path / "out"
    arguments = (str(scenes), str(broken), str(long), "--classes", "cat, grass", "--out", str(out))
    first = run(*arguments, "--format", "coco,jsonl", "--review", "2")
    assert first.returncode == 1
    assert "broken.avif is damaged" in first.stderr
    assert f"note: {long}: a picture of 900 x 7" in first.stderr and "Warn" not in first.stderr
    masks = {path: path.stat().st_mtime_ns for path in (out / "masks").iterdir()}
    assert len(masks) == 4
    assert len((out / "jsonl/labels.jsonl").read_text(encoding="utf-8").splitlines()) == 4
    broken.unlink()
    again = run(str(scenes), "--classes", "cat, grass", "--out", str(out), "--format", "cvat")
    assert again.returncode == 0, again.stderr
    assert "written:" in again.stdout and "3 pictures were labelled before" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in (out / "masks").iterdir()} == masks


def test_nothing_readable_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    arguments = (str(tmp_path / "broken.jpg"), "--classes", "cat", "--out", str(out))
    finished = run(*arguments)
    assert finished.returncode == 2
    assert (
        finished.stderr.splitlines()[-1].startswith("error: ") and "broken.jpg" in finished.stderr
    )
    assert not out.exists()


def test_a_mistake_does_not_bind_the_folder(scenes: Path, tmp_path: Path) -> None:
    arguments = (str(scenes), "--classes", "cat", "--out", str(tmp_path / "out"), "--quiet")
    assert run(*arguments, "--threshold", "3").returncode == 2
    assert not (tmp_path / "out").exists()
    assert run(*arguments, "--threshold", "0.3").returncode == 0
    (scenes / "000000.jpg").rename(scenes / "moved.jpg")
    moved = run(*arguments, "--threshold", "0.3")
    (scenes / "moved.jpg").rename(scenes / "000000.jpg")
    assert moved.returncode == 1 and "2 pictures were labelled before" in moved.stderr
    assert "000000.jpg is gone; its labels are left out" in moved.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--classes", "cat", "--format", "vok"), "--format takes any of voc, coco"),
        (("--classes", "cat", "--format", "yolo"), "did you mean 'yolo-seg'"),
        (("--classes", "cat", "--engine", "spark"), "--engine is local or ray"),
        (("--classes", " , "), "no class names given"),
        (("--classes", "cat,,dog"), "an empty class name"),
        (("--classes", "cat", "--model", "nowhere"), "no model in nowhere"),
        (("--classes", "cat", "--out", f"{__file__}/out"), "can't write to"),
    ],
)
def test_mistakes_are_one_line(scenes: Path, arguments: tuple[str, ...], message: str) -> None:
    finished = run(str(scenes), *arguments)
    assert finished.returncode == 2
    assert finished.stderr.startswith("error: ") and message in finished.stderr


@pytest.mark.proof
def test_two_ray_workers_do_what_one_process_does(scenes: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    classes = ("--classes", "cat, grass, sky|heaven", "--format", "jsonl", "--review", "0")
    local = run(str(scenes), *classes, "--out", str(tmp_path / "local"))
    assert local.returncode == 0, local.stderr
    on_ray = ("--engine", "ray", "--workers", "2", "--out", str(tmp_path / "ray"))
    there = run(str(scenes), *classes, *on_ray)
    assert there.returncode == 0, there.stderr
    ours, theirs = (
        [json.loads(line) for line in (tmp_path / kind / "jsonl/labels.jsonl").open()]
        for kind in ("local", "ray")
    )
    assert [row["name"] for row in ours] == [row["name"] for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert [s["rle"] for s in one["segments"]] == [s["rle"] for s in other["segments"]]
    again = run(str(scenes), *classes, *on_ray)
    assert again.returncode == 0 and "3 pictures were labelled before" in again.stderr
