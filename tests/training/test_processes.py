"""Two processes on the CPU train as one does, and stop together."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from cascade_clip.config import Recipe
from cascade_clip.config.recipes import dump_recipe, load_recipe
from cascade_clip.data.folder import FolderDataset
from cascade_clip.picturebook import export_voc
from cascade_clip.training.checkpoints import newest_checkpoint
from cascade_clip.training.run import train
from tests.training.programs import two_processes

PROGRAM = Path(two_processes.__file__)
LIMIT = 600
"""Seconds until processes that wait for each other are ended; they take some 10 of the CPU."""


@contextmanager
def started(*command: str | Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A program in a process group of its own, none of which outlives the block."""
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        end_group(process, signal.SIGKILL)
        process.wait()


def end_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def output(process: subprocess.Popen[str]) -> str:
    """What it printed until its end; if it hangs, the test fails and tells where it does."""
    try:
        return process.communicate(timeout=LIMIT)[0]
    except subprocess.TimeoutExpired:
        end_group(process, signal.SIGABRT)  # each process prints its stack and ends
        printed, _ = process.communicate(timeout=30)
        pytest.fail(f"no end after {LIMIT} s; the processes were here:\n{printed}")


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + LIMIT
    while not condition() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)


def column(run: Path, name: str) -> dict[int, float]:
    """What was logged under that name, by step."""
    with (run / "metrics.csv").open(newline="") as file:
        return {int(row["step"]): float(row[name]) for row in csv.DictReader(file) if row[name]}


SETTINGS = [
    "train.validate_every=2", "train.validation_pictures=1", "train.sample_pictures=0",
    "model.encoder.prompt_dropout=0", "model.head.decoder_dropout=0",
]  # fmt: skip
"""Without dropout, as its masks differ from process to process, and with a single validation
picture, so that the second process has none."""


@pytest.fixture
def damaged_book(tmp_path: Path) -> Path:
    """16 pictures to train on, which are 4 steps; one of them can't be read."""
    book = tmp_path / "book"
    export_voc(book, 20, seed=0, size=32)
    picture = FolderDataset(book, "train").pairs[0].picture
    picture.write_bytes(picture.read_bytes()[:100])
    return book


def with_devices(recipe: Recipe, devices: int, accumulate: int = 1) -> Recipe:
    settings = recipe.train.model_copy(update={"devices": devices, "accumulate": accumulate})
    return recipe.model_copy(update={"train": settings})


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_train_as_one_does(
    damaged_book: Path, tmp_path: Path, tiny_overrides: list[str], accumulate: int
) -> None:
    data = ["data.name=folder", f"data.root={damaged_book}", "train.steps=4", "train.lr=0.004"]
    recipe = load_recipe("cascade-clip/picturebook/inductive", [*tiny_overrides, *SETTINGS, *data])
    one, two = tmp_path / "one", tmp_path / "two"
    recipe_file = tmp_path / "two.yaml"
    recipe_file.write_text(yaml.safe_dump(dump_recipe(with_devices(recipe, 2, accumulate))))
    with started(sys.executable, PROGRAM, recipe_file, two, folder=tmp_path) as process:
        train(recipe, one, quiet=True)
        printed = output(process)
        assert process.returncode == 0, printed
    assert column(two, "loss").keys() == {1, 2, 3, 4}
    assert column(two, "loss") == pytest.approx(column(one, "loss"), rel=1e-5)
    assert "1 of 17 pictures could not be read; others took their place" in printed
    assert column(two, "unreadable")[4] == column(one, "unreadable")[4] == 1
    expected = load_file(one / "model" / "model.safetensors")
    found = load_file(two / "model" / "model.safetensors")
    for name, value in expected.items():
        if ".layers." in name and name.endswith(".key.bias"):
            continue  # softmax ignores it: its gradient is rounding noise, which AdamW makes large
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4, msg=name)
    confusion = torch.load(two / "confusion.pt")
    assert torch.equal(confusion, two_processes.count(0, 1, recipe_file))
    assert confusion.sum() == two_processes.PICTURES * 32 * 32


def test_one_signal_stops_both_and_one_of_them_says_so(
    tmp_path: Path, tiny_overrides: list[str]
) -> None:
    recipe_file = tmp_path / "two.yaml"
    settings = [*tiny_overrides, *SETTINGS, "train.steps=100000"]
    long = with_devices(load_recipe("cascade-clip/picturebook/inductive", settings), 2)
    recipe_file.write_text(yaml.safe_dump(dump_recipe(long)))
    run = tmp_path / "runs" / "cascade-clip-picturebook-inductive-1"
    command = [sys.executable, "-m", "cascade_clip", "train", recipe_file.name, "-q"]
    with started(*command, folder=tmp_path) as process:
        log = run / "metrics.csv"
        wait_for(lambda: log.is_file() and log.read_text().count("\n") > 3, process)
        process.send_signal(signal.SIGTERM)  # to the first process alone
        printed = output(process)
    assert process.returncode == 128 + signal.SIGTERM, printed
    assert printed.count("stopped after step") == 1, printed
    assert printed.count("\n") == 1, printed
    assert newest_checkpoint(run)[1] >= 1
    assert [path.name for path in run.parent.iterdir()] == [run.name]
