"""However a training process ends, the same command with `--resume` ends with the same weights."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cascade_clip.config.recipes import load_recipe
from cascade_clip.errors import UserError
from cascade_clip.training.checkpoints import newest_checkpoint
from cascade_clip.training.module import TrainingModule
from cascade_clip.training.run import train

PROGRAM = Path(__file__).parent / "programs" / "stop_at_step.py"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
SETTINGS = ["train.steps=6", "train.checkpoint_every=2", "train.sanity=false"]
WAYS = {
    "terminated": ("SIGTERM", "2", "step"),
    "interrupted": ("SIGINT", "2", "step"),
    "killed": ("SIGKILL", "3", "step"),
    "killed-before-a-checkpoint": ("SIGKILL", "1", "step"),
    "killed-while-saving": ("SIGKILL", "4", "save"),
}
STEPS_DONE = {"terminated": 3, "interrupted": 3, "killed": 2, "killed-while-saving": 2}
"""After how many steps the newest checkpoint was taken."""


@pytest.fixture(scope="module")
def stopped(
    tmp_path_factory: pytest.TempPathFactory, tiny_overrides: list[str]
) -> tuple[Path, dict[str, tuple[int, str]]]:
    """The folder of all runs, and of each its exit code and what it printed. They run together."""
    folder = tmp_path_factory.mktemp("runs")
    arguments = [
        "train",
        "cascade-clip/picturebook/inductive",
        *tiny_overrides,
        *SETTINGS,
        "-q",
        "--out",
    ]
    processes = {
        name: subprocess.Popen(
            [sys.executable, PROGRAM, *way, *arguments, name],
            cwd=folder, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True,
        )
        for name, way in WAYS.items()
    }  # fmt: skip
    ends = {}
    for name, process in processes.items():
        _, errors = process.communicate(timeout=600)
        ends[name] = (process.returncode, errors)
    return folder, ends


@pytest.fixture(scope="module")
def expected(
    tmp_path_factory: pytest.TempPathFactory, tiny_overrides: list[str]
) -> dict[str, torch.Tensor]:
    """The weights of a run without any stop."""
    recipe = load_recipe("cascade-clip/picturebook/inductive", [*tiny_overrides, *SETTINGS])
    model = train(recipe, tmp_path_factory.mktemp("runs") / "whole", quiet=True).folder
    return load_file(model / "model.safetensors")


@pytest.mark.parametrize("name", WAYS)
def test_a_stopped_process_resumes_to_the_same_weights(
    name: str,
    stopped: tuple[Path, dict[str, tuple[int, str]]],
    expected: dict[str, torch.Tensor],
    tiny_overrides: list[str],
) -> None:
    folder, ends = stopped
    code, errors = ends[name]
    number = signal.Signals[WAYS[name][0]]
    if number == signal.SIGKILL:
        assert (code, errors) == (-number, "")
    else:
        assert code == 128 + number, errors
        assert errors == (
            "error: stopped after step 3 of 6; go on with: "
            f"cascade-clip train {name}/recipe.yaml --out {name} --resume\n"
        )
    if name in STEPS_DONE:
        assert newest_checkpoint(folder / name)[1] == STEPS_DONE[name]
    recipe = load_recipe("cascade-clip/picturebook/inductive", [*tiny_overrides, *SETTINGS])
    model = train(recipe, folder / name, resume=True, quiet=True).folder
    weights = load_file(model / "model.safetensors")
    assert weights.keys() == expected.keys()
    assert [key for key in weights if not torch.equal(weights[key], expected[key])] == []


def checkpoints_go_nowhere(run: Path) -> None:
    (run / "checkpoints" / "last.ckpt.part").symlink_to("/dev/full")


def logs_go_nowhere(run: Path) -> None:
    (run / "metrics.csv").unlink()
    (run / "metrics.csv").symlink_to("/dev/full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(("fill", "kept"), [(checkpoints_go_nowhere, 2), (logs_go_nowhere, 4)])
def test_a_full_disk_ends_the_run_with_the_last_checkpoint_intact(
    fill: Callable[[Path], None],
    kept: int,
    tmp_path: Path,
    expected: dict[str, torch.Tensor],
    tiny_overrides: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = load_recipe("cascade-clip/picturebook/inductive", [*tiny_overrides, *SETTINGS])
    run = tmp_path / "run"
    start_of_batch = TrainingModule.on_train_batch_start

    def start(self: TrainingModule, batch: object, batch_idx: int) -> None:
        if batch_idx == 3:
            fill(run)
        start_of_batch(self, batch, batch_idx)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "on_train_batch_start", start)
        with pytest.raises(UserError, match=r"No space left.*intact: make room.*--resume"):
            train(recipe, run, quiet=True)
    assert newest_checkpoint(run)[1] == kept
    (run / "metrics.csv").unlink()
    weights = load_file(train(recipe, run, resume=True, quiet=True).folder / "model.safetensors")
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


def test_with_every_checkpoint_damaged_there_is_nothing_to_go_on_from(
    tmp_path: Path, tiny_overrides: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe("cascade-clip/picturebook/inductive", [*tiny_overrides, *SETTINGS])
    train(recipe, tmp_path / "run", quiet=True)
    for name in ("last.ckpt", "previous.ckpt"):
        path = tmp_path / "run" / "checkpoints" / name
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="no readable checkpoint; start anew in another --out"):
        train(recipe, tmp_path / "run", resume=True, quiet=True)
    assert capsys.readouterr().err.count("trying an older one") == 2
