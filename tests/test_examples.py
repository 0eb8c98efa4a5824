"""The scripts and the notebook of examples/ run; rest_client.py in tests/serve/test_docs.py,
onnx_labels.py in tests/export/test_without_this_package.py."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def in_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(EXAMPLES, tmp_path / "examples"))


def run(script: str, *arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *arguments])
        runpy.run_path(script, run_name="__main__")


def test_photographs(capsys: pytest.CaptureFixture[str]) -> None:
    run("photographs.py", "scene.png", "--classes", "cat, grass, sky", "--clip", "picturebook")
    assert "scene.png: cat " in capsys.readouterr().out
    assert Image.open("segmented/scene.png").height >= 384


def test_new_method_is_measured_beside_the_trained_one(capsys: pytest.CaptureFixture[str]) -> None:
    run("new_method.py", "--pictures", "2")
    rows = [line.split(":") for line in capsys.readouterr().out.splitlines() if ": S " in line]
    assert [name for name, _ in rows] == ["Cascade-CLIP", "nearest name"]
    assert rows[0][1] != rows[1][1]


def test_own_data(tiny_overrides: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run("own_data.py", *tiny_overrides, "train.steps=2")
    out = capsys.readouterr().out
    assert "cat" in out and "by its name alone" in out and "masks in training" in out
    assert Path("own-data/masks.png").is_file()


def test_notebook_has_no_outputs_and_runs_from_top_to_bottom() -> None:
    cells = json.loads(Path("first-steps.ipynb").read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert len(names) > 5
