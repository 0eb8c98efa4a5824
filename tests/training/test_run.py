"""A run ends with the same weights whether or not it was stopped on the way."""

from __future__ import annotations

import csv
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cascade_clip.checkpoint.folder import load_bundle
from cascade_clip.config import Recipe
from cascade_clip.config.recipes import load_recipe
from cascade_clip.errors import TrainingStopped, UserError
from cascade_clip.training import run
from cascade_clip.training.checkpoints import newest_checkpoint
from cascade_clip.training.module import TrainingModule
from cascade_clip.training.run import train
from cascade_clip.training.run_folder import (
    check_same_recipe,
    new_run_folder,
    newest_run_folder,
)

STEPS = 6


def recipe_of(overrides: list[str], *more: str) -> Recipe:
    settings = [*overrides, f"train.steps={STEPS}", "train.checkpoint_every=100", *more]
    return load_recipe("cascade-clip/picturebook/inductive", settings)


@pytest.fixture(scope="module")
def whole_run(
    tmp_path_factory: pytest.TempPathFactory, tiny_overrides: list[str]
) -> tuple[Recipe, Path]:
    """A run without any stop."""
    recipe = recipe_of(tiny_overrides, "train.validate_every=3", "train.validation_pictures=2")
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(recipe, out, quiet=True)
    return recipe, out


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def assert_equal_weights(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_what_needs_no_training_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="naclip needs no training"):
        train(load_recipe("naclip/picturebook"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Sends this process a signal at the start of a forward pass."""
    start_of_batch = TrainingModule.on_train_batch_start

    def start(self: TrainingModule, batch: object, batch_idx: int) -> None:
        if batch_idx == step:
            os.kill(os.getpid(), number)
        start_of_batch(self, batch, batch_idx)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainingModule, "on_train_batch_start", start)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_and_resumed_ends_bit_identical(
    whole_run: tuple[Recipe, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    recipe, whole = whole_run
    out = tmp_path / "stopped"
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        stop_at(2, patch, number)
        with pytest.raises(TrainingStopped, match=r"after step 3 of 6.*--resume") as stopped:
            train(recipe, out, quiet=True)
    assert stopped.value.signal_number == number
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    assert not (out / "model").exists()
    train(recipe, out, resume=True, quiet=True)
    assert_equal_weights(out, whole)
    steps = [row["step"] for row in csv.DictReader((out / "metrics.csv").open())]
    assert steps == [row["step"] for row in csv.DictReader((whole / "metrics.csv").open())]


def test_resuming_under_accumulation_and_workers_is_exact(
    tmp_path: Path, tiny_overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(tiny_overrides, "train.accumulate=2", "train.workers=1", "train.steps=4")
    whole, out = tmp_path / "whole", tmp_path / "stopped"
    train(recipe, whole, quiet=True)
    with monkeypatch.context() as patch:
        stop_at(3, patch, signal.SIGTERM)
        with pytest.raises(TrainingStopped, match="after step 2 of 4"):
            train(recipe, out, quiet=True)
    # Where the data is loaded doesn't decide the weights.
    elsewhere = recipe.train.model_copy(update={"workers": 0})
    train(recipe.model_copy(update={"train": elsewhere}), out, resume=True, quiet=True)
    assert_equal_weights(out, whole)


def test_another_seed_ends_with_other_weights(
    whole_run: tuple[Recipe, Path], tmp_path: Path, tiny_overrides: list[str]
) -> None:
    _, whole = whole_run
    train(recipe_of(tiny_overrides, "train.seed=1"), tmp_path / "other", quiet=True)
    assert not all(map(torch.equal, weights(whole).values(), weights(tmp_path / "other").values()))


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, tiny_overrides: list[str]
) -> None:
    recipe = recipe_of(tiny_overrides, "train.steps=4", "train.checkpoint_every=1")
    whole = tmp_path / "whole"
    train(recipe, whole, quiet=True)
    expected = weights(whole)
    last = whole / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    assert newest_checkpoint(whole)[1] == 3
    train(recipe, whole, resume=True, quiet=True)
    assert all(map(torch.equal, expected.values(), weights(whole).values()))


@pytest.mark.parametrize("lacking", ["loops", "optimizer_states", "a weight", "everything"])
def test_a_checkpoint_that_lacks_something_falls_back_to_the_one_before(
    whole_run: tuple[Recipe, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    lacking: str,
) -> None:
    _, whole = whole_run
    wanted = weights(whole).keys()
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    content: dict[str, Any] = {
        "global_step": 1, "state_dict": dict.fromkeys(wanted), "loops": {},
        "optimizer_states": [], "lr_schedulers": [],
    }  # fmt: skip
    torch.save(content, folder / "previous.ckpt")
    content["global_step"] = 2
    if lacking == "a weight":
        content["state_dict"].popitem()
    else:
        content.pop(lacking, None)
    torch.save(object() if lacking == "everything" else content, folder / "last.ckpt")
    assert newest_checkpoint(tmp_path, wanted) == (folder / "previous.ckpt", 1)
    said = capsys.readouterr().err
    assert "last.ckpt" in said and "trying an older one" in said
    assert "weights_only" not in said  # PyTorch's advice is to run what a file holds


@pytest.mark.parametrize("validated", [True, False])
def test_a_run_killed_after_its_last_checkpoint_keeps_its_metrics(
    whole_run: tuple[Recipe, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    validated: bool,
) -> None:
    recipe, whole = whole_run
    often = recipe.train.model_copy(update={"checkpoint_every": 3})
    recipe = recipe.model_copy(update={"train": often})
    out = tmp_path / "run"
    end_of_validation = TrainingModule.on_validation_epoch_end

    def end(self: TrainingModule) -> None:
        if self.global_step == STEPS:
            raise MemoryError("killed")
        end_of_validation(self)

    def save(*arguments: object, **options: object) -> None:
        raise MemoryError("killed")

    with monkeypatch.context() as patch:
        if validated:
            patch.setattr(run, "_save", save)
        else:
            patch.setattr(TrainingModule, "on_validation_epoch_end", end)
        with pytest.raises(MemoryError):
            train(recipe, out, quiet=True)
    train(recipe, out, resume=True, quiet=True)
    assert_equal_weights(out, whole)
    assert load_bundle(out).metrics == load_bundle(whole).metrics
    logged = [list(csv.DictReader((folder / "metrics.csv").open())) for folder in (out, whole)]
    assert logged[0] == logged[1]


def test_what_a_run_folder_holds(whole_run: tuple[Recipe, Path]) -> None:
    recipe, out = whole_run
    stored = load_recipe(out / "recipe.yaml")
    assert stored == recipe
    versions = json.loads((out / "versions.json").read_text())
    assert versions["packages"]["torch"] == torch.__version__.split("+")[0]
    rows = list(csv.DictReader((out / "metrics.csv").open()))
    losses = {int(row["step"]): float(row["loss"]) for row in rows if row["loss"]}
    assert sorted(losses) == [1, 2, 3, 4, 5, 6]
    assert sorted(int(row["step"]) for row in rows if row["val_mIoU"]) == [3, 6]
    assert list((out / "tensorboard").glob("events.*"))
    bundle = load_bundle(out)
    assert bundle.recipe == recipe
    assert bundle.metrics["val_pixel_accuracy"] is not None


def test_a_finished_folder_is_not_written_over(whole_run: tuple[Recipe, Path]) -> None:
    recipe, out = whole_run
    with pytest.raises(UserError, match="holds a run already"):
        train(recipe, out, quiet=True)


def test_resuming_with_other_settings_says_which(whole_run: tuple[Recipe, Path]) -> None:
    recipe, out = whole_run
    other = recipe.model_copy(update={"train": recipe.train.model_copy(update={"lr": 0.5})})
    with pytest.raises(UserError, match=rf"train\.lr={recipe.train.lr}, now it is 0\.5"):
        train(other, out, resume=True, quiet=True)


def test_a_run_may_go_on_where_its_data_lies_now(whole_run: tuple[Recipe, Path]) -> None:
    recipe, out = whole_run
    moved = recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"root": Path("elsewhere")}),
            "train": recipe.train.model_copy(update={"keep_model_at": (2,)}),
        }
    )
    check_same_recipe(moved, out)


@pytest.mark.parametrize(
    "settings",
    [
        ["train.checkpoint_every=2"],
        ["train.checkpoint_every=100", "train.validate_every=2"],
        ["train.checkpoint_every=100", "train.validate_every=2", "train.steps=10"],
    ],
)
def test_diverged_weights_are_never_saved(
    tmp_path: Path, tiny_overrides: list[str], settings: list[str]
) -> None:
    recipe = recipe_of(tiny_overrides, "train.lr=1e38", *settings)
    with pytest.raises(UserError, match="diverged"):
        train(recipe, tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / "model").exists()


def test_transductive_starts_from_an_inductive_model(
    whole_run: tuple[Recipe, Path], tmp_path: Path, tiny_overrides: list[str]
) -> None:
    _, whole = whole_run
    settings = [*tiny_overrides, "train.steps=2", f"train.start_from={whole}"]
    recipe = load_recipe("cascade-clip/picturebook/transductive", settings)
    train(recipe, tmp_path / "run", quiet=True)
    assert load_bundle(tmp_path / "run").recipe.train.setting == "transductive"
    single = load_recipe("zegclip/picturebook/inductive", settings)
    with pytest.raises(UserError, match=r"model\.head\.stages"):
        train(single, tmp_path / "single", quiet=True)


def test_run_folders_are_numbered(tmp_path: Path) -> None:
    recipe = load_recipe("cascade-clip/picturebook/inductive")
    assert new_run_folder(recipe, tmp_path).name == "cascade-clip-picturebook-inductive-1"
    with pytest.raises(UserError, match="to resume"):
        newest_run_folder(recipe, tmp_path)
    for name in (
        "cascade-clip-picturebook-inductive-2",
        "cascade-clip-picturebook-inductive-10",
        "cascade-clip-picturebook-inductive-x",
    ):
        (tmp_path / name).mkdir()
    assert new_run_folder(recipe, tmp_path).name == "cascade-clip-picturebook-inductive-11"
    assert newest_run_folder(recipe, tmp_path).name == "cascade-clip-picturebook-inductive-10"


def test_training_works_outside_the_main_thread(tmp_path: Path, tiny_overrides: list[str]) -> None:
    recipe = recipe_of(tiny_overrides, "train.steps=1")
    thread = threading.Thread(target=train, args=(recipe, tmp_path / "run"), kwargs={"quiet": True})
    thread.start()
    thread.join()
    assert (tmp_path / "run" / "model" / "config.json").exists()
