"""What a machine or a launcher can't give is said before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cascade_clip.config import TrainSettings
from cascade_clip.config.recipes import load_recipe
from cascade_clip.errors import UserError
from cascade_clip.training import logs, trainer
from cascade_clip.training.run import train
from cascade_clip.training.trainer import build_trainer


def build(tmp_path: Path, **settings: object) -> None:
    values = {"accelerator": "cpu", "batch_size": 4, **settings}
    build_trainer(TrainSettings.model_validate(values), tmp_path, 0, [], quiet=True)


def test_half_precision_needs_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fp16 needs a GPU; use fp32, or bf16"):
        build(tmp_path, precision="fp16")


def test_more_gpus_than_there_are(tmp_path: Path) -> None:
    if torch.cuda.device_count() >= 64:
        pytest.skip("this machine has them")
    with pytest.raises(UserError, match="accelerator gpu on 64 devices"):
        build(tmp_path, accelerator="gpu", devices=64, batch_size=64)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0"},
            r"torchrun started 4 processes, but train\.devices=2 and train\.nodes=1 ask for 2",
        ),
        (
            {"SLURM_NTASKS": "8", "SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "train"},
            r"srun started 8 processes, but train\.devices=2",
        ),
        (
            {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train"},
            "needs srun before cascade-clip",
        ),
    ],
)
def test_a_launcher_that_started_another_number_of_processes(
    environment: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        build(tmp_path, devices=2)


def test_the_batch_is_divided_among_all_nodes() -> None:
    with pytest.raises(
        ValueError, match=r"divisible by accumulate x devices x nodes \(1 x 2 x 3\)"
    ):
        TrainSettings(batch_size=16, devices=2, nodes=3)


@pytest.mark.parametrize("features", [{"avx2"}, {"avx2", "avx512_vnni"}, set()])
def test_bfloat16_that_is_slower_on_the_cpu(
    features: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "cpu_features", lambda: features)
    with pytest.raises(UserError, match=r"train\.precision=bf16: bf16 is faster .*; use fp32"):
        build(tmp_path, precision="bf16")
    build(tmp_path, precision="fp32")


def test_training_in_bfloat16_learns_on_the_cpu(
    tmp_path: Path, tiny_overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "cpu_features", lambda: {"avx512_bf16"})  # tiny, so slow will do
    runs = {}
    for precision in ("fp32", "bf16"):
        settings = [
            "train.steps=3",
            "train.sanity=false",
            f"train.precision='{precision}'",
            "train.accumulate=2",
        ]
        recipe = load_recipe("cascade-clip/picturebook/inductive", [*tiny_overrides, *settings])
        train(recipe, tmp_path / precision, quiet=True)
        lines = (tmp_path / precision / "metrics.csv").read_text().splitlines()[1:]
        runs[precision] = [float(line.split(",")[1]) for line in lines]
    assert runs["bf16"] == pytest.approx(runs["fp32"], rel=0.05)
    assert runs["bf16"] != runs["fp32"]
    assert runs["bf16"][-1] < runs["bf16"][0]


def test_wandb_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'wandb>=0\.22'"):
        build(tmp_path, wandb="project")
    assert list(tmp_path.iterdir()) == []


def test_wandb_logs_offline_and_a_resumed_run_goes_on_in_the_same_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    ids = []
    for first_step in (0, 1):
        *_, logger = logs.build_loggers(tmp_path, first_step, "project")
        logger.log_metrics({"loss": 1.5}, step=first_step + 1)
        ids.append(logger.version)
        logger.finalize("success")
        logger.experiment.finish()
    assert ids[0] == ids[1] == (tmp_path / "wandb" / "run-id.txt").read_text(encoding="utf-8")
    assert list(tmp_path.rglob(f"*{ids[0]}.wandb"))
