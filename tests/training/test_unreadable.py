"""Files that can't be read while training: counted, reported, replaced; too many end the run."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cascade_clip.config import Recipe
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.folder import FolderDataset
from cascade_clip.errors import TrainingStopped, UserError
from cascade_clip.picturebook import export_voc
from cascade_clip.training.module import TrainingModule
from cascade_clip.training.run import train

STEPS = 6
BATCH = 4


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """24 pictures to train on, which is one epoch, and 6 for validation."""
    export_voc(tmp_path / "book", 30, seed=0, size=40)
    return tmp_path / "book"


def recipe_of(book: Path, overrides: list[str], *more: str) -> Recipe:
    settings = [
        *overrides, "data.name=folder", f"data.root={book}", f"train.steps={STEPS}",
        f"train.batch_size={BATCH}", "train.sanity=false", "train.sample_pictures=0", *more,
    ]  # fmt: skip
    return load_recipe("cascade-clip/picturebook/inductive", settings)


def damage(book: Path, part: str, count: int) -> list[Path]:
    """Cuts the first pictures of a part in half."""
    dataset = FolderDataset(book, "train" if part == "train" else "val")
    paths = [pair.picture for pair in dataset.pairs[:count]]
    for path in paths:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return paths


def counted(run: Path) -> str:
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    return [row["unreadable"] for row in rows if row["unreadable"]][-1]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_file_is_replaced_counted_and_reported(
    book: Path,
    tmp_path: Path,
    tiny_overrides: list[str],
    capsys: pytest.CaptureFixture[str],
    workers: int,
) -> None:
    (path,) = damage(book, "train", 1)
    recipe = recipe_of(book, tiny_overrides, f"train.workers={workers}", f"train.steps={2 * STEPS}")
    train(recipe, tmp_path / "run", quiet=True)
    warnings = capsys.readouterr().err.splitlines()
    assert [str(path) in line for line in warnings] == [True, False]  # once, though met twice
    assert warnings[1].startswith(f"{counted(tmp_path / 'run').partition('.')[0]} of ")
    assert float(counted(tmp_path / "run")) >= 2
    assert (tmp_path / "run" / "model").is_dir()


def test_a_mask_with_unknown_labels_is_one_of_them(
    book: Path, tmp_path: Path, tiny_overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    names = (book / "classes.txt").read_text().splitlines()
    (book / "classes.txt").write_text("\n".join(names[:-1]))  # the last one, wood, is rare
    recipe = recipe_of(book, tiny_overrides, "train.steps=1")
    dataset = FolderDataset(book, "train")
    bad = 0
    for index in range(len(dataset)):
        try:
            dataset[index]
        except UserError:
            bad += 1
    assert 0 < bad < len(dataset)
    train(recipe, tmp_path / "run", quiet=True)
    assert "holds label 21" in capsys.readouterr().err


@pytest.mark.parametrize("damaged", [8, 24])
def test_too_many_end_the_run(
    book: Path, tmp_path: Path, tiny_overrides: list[str], damaged: int
) -> None:
    damage(book, "train", damaged)
    recipe = recipe_of(book, tiny_overrides, "train.steps=100")
    with pytest.raises(UserError, match=r"of \d+ training pictures could not be read.*than 10%"):
        train(recipe, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "model").exists()


def test_resumed_runs_replace_with_the_same_pictures(
    book: Path, tmp_path: Path, tiny_overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(book, "train", 2)
    recipe = recipe_of(book, tiny_overrides)
    whole, out = tmp_path / "whole", tmp_path / "stopped"
    train(recipe, whole, quiet=True)
    start_of_batch = TrainingModule.on_train_batch_start

    def stop(self: TrainingModule, batch: object, batch_idx: int) -> None:
        if batch_idx == STEPS // 2:
            os.kill(os.getpid(), signal.SIGTERM)
        start_of_batch(self, batch, batch_idx)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "on_train_batch_start", stop)
        with pytest.raises(TrainingStopped):
            train(recipe, out, quiet=True)
    train(recipe, out, resume=True, quiet=True)
    ours, theirs = (load_file(run / "model" / "model.safetensors") for run in (out, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert counted(out) == counted(whole) == "2.0"


def test_validation_leaves_damaged_pictures_out(
    book: Path, tmp_path: Path, tiny_overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = damage(book, "val", 1)
    recipe = recipe_of(
        book,
        tiny_overrides,
        "train.validate_every=3",
        "train.validation_pictures=6",
        "train.sample_pictures=2",
    )
    train(recipe, tmp_path / "run", quiet=True)
    warnings = capsys.readouterr().err.splitlines()
    assert [str(path) in line for line in warnings] == [True]
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert sum(row["val_mIoU"] != "" for row in rows) == 2


def test_validation_without_a_readable_picture_ends_the_run(
    book: Path, tmp_path: Path, tiny_overrides: list[str]
) -> None:
    damage(book, "val", 6)
    recipe = recipe_of(book, tiny_overrides, "train.validate_every=3")
    with pytest.raises(UserError, match=r"none of 6 pictures can be read: .*damaged"):
        train(recipe, tmp_path / "run", quiet=True)
