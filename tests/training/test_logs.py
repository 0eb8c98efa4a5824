from __future__ import annotations

import csv
import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.samples import Sample
from cascade_clip.io.palette import IGNORED, class_colours
from cascade_clip.support import environment
from cascade_clip.training.logs import CsvLog
from cascade_clip.training.run import train
from cascade_clip.training.samples import PANEL, draw_comparison


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("half_a_line", ["3,0.1", "3", ",,,,,,,,,,,,,,,,,,,,0.3"])
def test_a_resumed_log_drops_later_rows_and_half_a_line(tmp_path: Path, half_a_line: str) -> None:
    path = tmp_path / "metrics.csv"
    log = CsvLog(path, first_step=0)
    for step in range(5):
        log.log_metrics({"loss": float(step)}, step)
    with path.open("a") as file:
        file.write(half_a_line)
    CsvLog(path, first_step=3).log_metrics({"loss": 0.5}, 3)
    assert [(row["step"], row["loss"]) for row in rows(path)] == [
        ("1", "0.0"), ("2", "1.0"), ("3", "2.0"), ("4", "0.5"),
    ]  # fmt: skip


def test_the_revision_is_that_of_this_source_and_of_no_repository_around_it(
    tmp_path: Path,
) -> None:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    for command in (
        ["init", "-q"],
        [
            "-c",
            "user.name=n",
            "-c",
            "user.email=e",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "theirs",
        ],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    copy = Path(shutil.copy(environment.__file__, tmp_path / "installed.py"))
    spec = importlib.util.spec_from_file_location("installed", copy)
    assert spec is not None and spec.loader is not None
    installed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(installed)
    assert installed.describe_environment()["git_revision"] is None


def test_sample_pictures_show_picture_truth_and_prediction() -> None:
    classes = ClassSet(("cat", "grass", "sky"), ("sky",))
    colours = class_colours(classes.names)
    image = torch.full((3, 40, 60), 77, dtype=torch.uint8)
    truth = torch.zeros(40, 60, dtype=torch.long)
    truth[:10] = 255
    predicted = np.full((40, 60), 2)
    row = np.asarray(draw_comparison(Sample(image, truth, "field"), predicted, classes))
    height = PANEL * 40 // 60
    panels = [row[36 + height // 2, 12 + PANEL // 2 + (12 + PANEL) * place] for place in range(3)]
    assert [tuple(panel) for panel in panels] == [(77, 77, 77), colours[0], colours[2]]
    assert tuple(row[36 + height // 8, 2 * (12 + PANEL) - PANEL // 2]) == IGNORED


def test_a_run_keeps_sample_pictures_of_each_validation(
    tmp_path: Path, tiny_overrides: list[str]
) -> None:
    settings = [
        "train.steps=4", "train.validate_every=2", "train.validation_pictures=3",
        "train.sample_pictures=2", "train.sanity=false",
    ]  # fmt: skip
    recipe = load_recipe("cascade-clip/picturebook/inductive", [*tiny_overrides, *settings])
    train(recipe, tmp_path / "run", quiet=True)
    files = sorted((tmp_path / "run" / "samples").iterdir())
    assert [path.name for path in files] == ["step-000002.png", "step-000004.png"]
    assert all(Image.open(path).width > 3 * PANEL for path in files)
    events = b"".join(p.read_bytes() for p in (tmp_path / "run" / "tensorboard").iterdir())
    assert b"samples/val-000000" in events
    assert b"samples/val-000001" in events
    assert b"samples/val-000002" not in events
