"""examples/onnx_labels.py needs numpy, onnxruntime and Pillow alone, and labels as `Segmenter`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_clip.checkpoint.folder import Bundle
from cascade_clip.picturebook import draw_scene
from cascade_clip.segmenter import Segmenter
from tests.environments import python_with, run_alone

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "onnx_labels.py"
FORBIDDEN = ("torch", "torchvision", "open_clip", "cascade_clip")
RUN = f"""
import runpy, sys
import numpy
sys.modules.update(dict.fromkeys({FORBIDDEN}))
names = runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
numpy.save("scores.npy", names["scores"])
"""


@pytest.mark.parametrize(
    ("size", "tolerance"),
    # Resized pictures differ by a grey level here and there: torchvision rounds along each side.
    [((32, 90), 1e-5), ((100, 64), 1e-3), ((31, 90), 1e-3)],
)
def test_the_same_scores_and_labels(
    size: tuple[int, int],
    tolerance: float,
    fixed_onnx_model: tuple[Bundle, Path],
    tmp_path: Path,
) -> None:
    bundle, file = fixed_onnx_model
    assert bundle.recipe.inference.shifts > 1
    picture, out = tmp_path / "scene.png", tmp_path / "labels.png"
    Image.fromarray(draw_scene(5, 1, size).image).save(picture)
    done = subprocess.run(
        [sys.executable, "-c", RUN, file, picture, out],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    names = segmenter_of(bundle)(picture, "cat, grass, lawn, houses").scores  # (4, H, W)
    assert np.ptp(names, axis=(1, 2)).min() > 0.02
    assert np.abs(np.load(tmp_path / "scores.npy") - names).max() < tolerance
    assert_as_segmenter(bundle, picture, out, done.stdout)


@pytest.mark.proof
def test_where_nothing_else_is_installed(
    fixed_onnx_model: tuple[Bundle, Path], tmp_path: Path
) -> None:
    bundle, file = fixed_onnx_model
    picture, out = tmp_path / "scene.png", tmp_path / "labels.png"
    Image.fromarray(draw_scene(5, 1, (100, 64)).image).save(picture)
    printed = run_alone(python_with("numpy", "onnxruntime", "pillow"), SCRIPT, file, picture, out)
    assert_as_segmenter(bundle, picture, out, printed)


def segmenter_of(bundle: Bundle) -> Segmenter:
    return Segmenter(bundle.network, bundle.clip, bundle.classes, bundle.recipe)


def assert_as_segmenter(bundle: Bundle, picture: Path, labels: Path, printed: str) -> None:
    expected = segmenter_of(bundle)(picture, "cat, grass|lawn, houses")
    with Image.open(labels) as image:
        assert np.mean(np.asarray(image) == expected.labels) >= 0.999
    assert tuple(ast.literal_eval(printed)) == expected.classes


def test_the_page_shows_the_script_and_its_length() -> None:
    program = SCRIPT.read_text(encoding="utf-8").split('"""\n\n', 1)[1]
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    assert f"```python\n{program}```" in page
    lines = [line.strip() for line in program.splitlines()]
    assert sum(bool(line) and not line.startswith("#") for line in lines) == 40
    assert "in 40 lines of code" in page
