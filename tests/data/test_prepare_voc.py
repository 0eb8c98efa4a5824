"""VOC 2012 and SBD, from their archives to masks and lists; and what holds for all data sets."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_clip.data.pairs import read_mask
from cascade_clip.data.part import Part
from cascade_clip.data.prepare.archives import ArchiveFiles
from cascade_clip.data.prepare.run import Report, prepare
from cascade_clip.data.prepare.voc import VOC2012
from cascade_clip.data.prepared import PreparedDataset
from cascade_clip.errors import UserError
from tests.data import owners

TRAIN = [*owners.VOC_TRAIN, "2008_000002", "2008_000007"]
"""VOC's own, and those of SBD that are in neither of VOC's lists."""
COMMAND = [sys.executable, "-m", "cascade_clip"]


def run(root: Path, jobs: int = 1) -> Report:
    return prepare("voc20", root, jobs, lambda *_: None)


def without_background(raw: np.ndarray) -> list[list[int]]:
    """What the 20-class task makes of VOC's values, one by one."""
    return [[255 if value in (0, 255) else int(value) - 1 for value in row] for row in raw]


def stamps(folder: Path) -> dict[str, int]:
    """When each file was written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def contents(folder: Path) -> dict[str, bytes]:
    """All files."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    owners.voc(tmp_path)
    owners.sbd(tmp_path)
    return tmp_path


def test_masks_and_lists(root: Path) -> None:
    report = run(root)
    assert (report.made, report.kept, report.problems, report.missing) == (5, 0, [], [])
    assert report.counts == {"train": 4, "val": 1}
    assert report.expected == {"train": 10_582, "val": 1_449}
    folder = root / "cascade-clip/voc20"
    masks = folder / "masks"
    assert {path.stem for path in masks.iterdir()} == {*TRAIN, *owners.VOC_VAL}
    for name in (*owners.VOC_TRAIN, *owners.VOC_VAL):  # VOC's masks win over SBD's
        made = read_mask(masks / f"{name}.png").tolist()
        assert made == without_background(owners.voc_values(name))
    for name in TRAIN[2:]:
        made = read_mask(masks / f"{name}.png").tolist()
        assert made == without_background(owners.sbd_values(name))
    lines = (folder / "train.txt").read_text().splitlines()
    assert lines[0] == f"VOCdevkit/VOC2012/JPEGImages/{TRAIN[0]}.jpg\tmasks/{TRAIN[0]}.png"
    assert json.loads((folder / "prepared.json").read_text()) == {
        "name": "voc20", "version": 1, "counts": {"train": 4, "val": 1},
    }  # fmt: skip


def test_with_background_as_class_0(root: Path) -> None:
    report = prepare("voc21", root, 1, lambda *_: None)
    assert (report.counts, report.problems) == ({"train": 4, "val": 1}, [])
    masks = root / "cascade-clip/voc21/masks"
    for name in (*owners.VOC_TRAIN, *owners.VOC_VAL):  # VOC's own numbers, 255 for the border
        assert read_mask(masks / f"{name}.png").tolist() == owners.voc_values(name).tolist()
    assert PreparedDataset(root, "voc21", "val").classes.background


@pytest.mark.parametrize(("part", "names"), [("train", TRAIN), ("test", owners.VOC_VAL)])
def test_what_is_prepared_can_be_trained_on(root: Path, part: Part, names: list[str]) -> None:
    run(root)
    dataset = PreparedDataset(root, "voc20", part)
    assert [dataset[i].name for i in range(len(dataset))] == list(names)
    assert dataset[0].image.shape == (3, *owners.SIZE)


def test_only_what_is_needed_is_unpacked(root: Path) -> None:
    run(root)
    unpacked = {path.name for path in root.rglob("*") if path.is_file()}
    assert "2007_000032.xml" not in unpacked  # VOC's boxes
    assert not list(root.glob("benchmark_RELEASE/**/*.jpg"))  # VOC has the pictures
    assert not list(root.glob("benchmark_RELEASE/**/2007_000032.mat"))  # VOC's own mask is taken


def test_a_second_run_writes_nothing(root: Path) -> None:
    run(root)
    before = stamps(root)
    for archive in root.glob("*.t*"):
        archive.write_bytes(b"not even opened")
    report = run(root)
    assert (report.made, report.kept) == (0, 5)
    after = stamps(root)
    assert {name for name in after if before[name] != after[name]} == {
        str(root / "VOCtrainval_11-May-2012.tar"), str(root / "benchmark.tgz"),
    }  # fmt: skip


def test_damaged_masks_are_made_again(root: Path) -> None:
    run(root)
    masks = root / "cascade-clip/voc20/masks"
    (masks / "2007_000032.png").write_bytes((masks / "2007_000032.png").read_bytes()[:60])
    Image.new("L", (3, 3)).save(masks / "2008_000002.png")
    Image.new("L", owners.SIZE[::-1], 20).save(masks / "2007_000033.png")
    (masks / ".unfinished.png").write_bytes(b"left by a killed run")
    report = run(root)
    assert (report.made, report.kept, report.problems) == (3, 2, [])
    assert len(list(masks.iterdir())) == 5


def test_an_interrupted_run_goes_on(root: Path) -> None:
    def interrupt(doing: str, done: int, total: int | None) -> None:
        if doing == "writing masks" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare("voc20", root, 1, interrupt)
    folder = root / "cascade-clip/voc20"
    assert len(list((folder / "masks").iterdir())) == 2
    assert not (folder / "prepared.json").exists()
    report = run(root)
    assert (report.made, report.kept, report.counts) == (3, 2, {"train": 4, "val": 1})


def test_several_processes_make_the_same(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    for archive in root.glob("*.t*"):
        shutil.copy(archive, other)
    assert run(root, jobs=1) != run(other, jobs=2)  # their folders differ
    for name in ("train.txt", "val.txt", *(f"masks/{name}.png" for name in TRAIN)):
        one, two = (r / "cascade-clip/voc20" / name for r in (root, other))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("base", ["VOCdevkit/VOC2012", "VOC2012", "."])
def test_unpacked_files_will_do(root: Path, base: str) -> None:
    run(root)
    shutil.rmtree(root / "cascade-clip")
    for archive in root.glob("*.t*"):
        archive.unlink()
    if base != "VOCdevkit/VOC2012":
        shutil.copytree(root / "VOCdevkit/VOC2012", root / base, dirs_exist_ok=True)
        shutil.rmtree(root / "VOCdevkit")
    assert run(root).counts == {"train": 4, "val": 1}
    assert PreparedDataset(root, "voc20", "val")[0].name == "2007_000033"


def test_without_sbd_only_vocs_own_pictures_train(root: Path) -> None:
    (root / "benchmark.tgz").unlink()
    report = run(root)
    assert report.counts == {"train": 2, "val": 1}
    assert "benchmark.tgz" in report.notes[0]
    owners.sbd(root)
    report = run(root)
    assert (report.made, report.kept, report.counts["train"]) == (2, 3, 4)


def test_nothing_to_prepare_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"VOCtrainval_11-May-2012\.tar.*benchmark\.tgz"):
        run(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        run(tmp_path / "missing")


@pytest.mark.parametrize("share", [0.02, 0.4])
@pytest.mark.parametrize("name", ["VOCtrainval_11-May-2012.tar", "benchmark.tgz"])
def test_archives_cut_short(root: Path, name: str, share: float) -> None:
    content = (root / name).read_bytes()
    (root / name).write_bytes(content[: int(share * len(content)) + 800])
    with pytest.raises(UserError, match=rf"{name} (is damaged|doesn't hold)"):
        run(root)
    assert not [path for path in root.rglob(".*") if path.is_file()]


def test_what_is_no_archive_is_told_in_one_line(root: Path) -> None:
    (root / "benchmark.tgz").write_bytes(b"<html>not found</html>" * 99)
    with pytest.raises(UserError, match=r"benchmark\.tgz is damaged") as caught:
        run(root)
    assert "\n" not in str(caught.value)


def test_files_of_absurd_sizes_are_refused_and_none_is_held_in_memory(
    tmp_path: Path,
) -> None:
    name = "JPEGImages/2007_000032.jpg"
    source = replace(VOC2012, inside=".")
    archive = owners.write_tar(tmp_path / source.archive, {name: bytes(32 << 20)})
    files = ArchiveFiles(tmp_path, source)
    tracemalloc.start()
    files.obtain([files.folder / name], progress=lambda *_: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (files.folder / name).stat().st_size == 32 << 20 and peak < 8 << 20
    (files.folder / name).unlink()
    entry = tarfile.TarInfo(name)
    entry.size = 1 << 40
    archive.write_bytes(entry.tobuf())
    with pytest.raises(UserError, match="1,099,511,627,776 bytes, at most"):
        files.obtain([files.folder / name], progress=lambda *_: None)


def test_archives_can_not_write_elsewhere(tmp_path: Path) -> None:
    files = {"VOCdevkit/VOC2012/JPEGImages/../../../../evil.jpg": b"x"}
    owners.write_tar(tmp_path / "VOCtrainval_11-May-2012.tar", files)
    with pytest.raises(UserError, match="leads out of it"):
        run(tmp_path)
    lists = tmp_path / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("../../../../evil\n")
    (lists / "val.txt").write_text("2007_000033\n")
    with pytest.raises(UserError, match="must list picture ids"):
        run(tmp_path)


def test_what_is_wrong_with_single_files_is_told(root: Path) -> None:
    run(root)
    shutil.rmtree(root / "cascade-clip")
    voc, sbd = root / "VOCdevkit/VOC2012", root / "benchmark_RELEASE/dataset/cls"
    (voc / "SegmentationClass/2007_000032.png").write_bytes(owners.jpeg("colours"))
    (voc / "SegmentationClass/2007_000039.png").write_bytes(
        owners.palette_png(np.zeros((5, 5), np.uint8))
    )
    (sbd / "2008_000002.mat").write_bytes(owners.sbd_mat(np.full(owners.SIZE, 77, np.uint8)))
    (sbd / "2008_000007.mat").write_bytes(b"no MATLAB at all")
    (voc / "JPEGImages/2007_000033.jpg").write_bytes(b"no picture")
    report = run(root)
    assert report.counts == {"train": 0, "val": 0}
    told = "\n".join(report.problems)
    assert "2007_000032.png holds colours" in told
    assert "2007_000039.png is 5 x 5 pixels, its picture" in told
    assert "2008_000002.mat holds the value 77" in told
    assert "2008_000007.mat can't be read as a .mat file with GTcls.Segmentation" in told
    assert "2007_000033.jpg is not a picture" in told
    assert not list((root / "cascade-clip/voc20/masks").iterdir())


def test_files_that_no_archive_holds_are_told(root: Path) -> None:
    run(root)
    shutil.rmtree(root / "cascade-clip")
    for archive in root.glob("*.t*"):
        archive.unlink()
    gone = root / "VOCdevkit/VOC2012/JPEGImages/2007_000032.jpg"
    gone.unlink()
    report = run(root)
    assert report.missing == [gone]
    assert report.counts == {"train": 3, "val": 1}


@pytest.mark.proof  # a race against a fast machine
def test_the_command_stopped_and_repeated(tmp_path: Path) -> None:
    """Real archives, real Ctrl-C: no half files, and the next run does only what is left."""
    names = tuple(f"2009_{number:06d}" for number in range(3000))
    top = "VOCdevkit/VOC2012"
    files = {
        f"{top}/ImageSets/Segmentation/train.txt": "\n".join(names[1:]).encode(),
        f"{top}/ImageSets/Segmentation/val.txt": names[0].encode(),
    }
    picture, mask = owners.jpeg("all"), owners.palette_png(owners.voc_values("all"))
    for name in names:
        files[f"{top}/JPEGImages/{name}.jpg"] = picture
        files[f"{top}/SegmentationClass/{name}.png"] = mask
    owners.write_tar(tmp_path / "VOCtrainval_11-May-2012.tar", files)
    masks = tmp_path / "cascade-clip/voc20/masks"
    command = [*COMMAND, "prepare", "voc", str(tmp_path), "--jobs", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    # A session of its own, so that Ctrl-C reaches the workers too, as on a terminal.
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while process.poll() is None and len(list(masks.glob("*.png"))) < 5:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    done = len(list(masks.iterdir()))
    assert 5 <= done < len(names)
    assert not list(masks.glob(".*"))
    command[-1] = "1"
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"{len(names) - done:,} made, {done:,} kept" in again.stdout
    assert "without SBD" in again.stderr
