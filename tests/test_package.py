"""What someone gets who installs the package."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

from cascade_clip.support.messages import install_line

PROGRAM = """\
from pathlib import Path
from cascade_clip import Segmenter

masks = Segmenter.from_pretrained("picturebook")("a.png", "cat, sky").labels
reveal_type(masks)
Segmenter.from_pretrained(3)
reveal_type(Segmenter.from_pretrained("picturebook")(sorted(Path().glob("*.png")), "cat, sky"))
"""


@pytest.mark.parametrize("extra", ["web", "export", "video", "ray", "wandb"])
def test_what_an_extra_needs_can_be_installed_by_name(extra: str) -> None:
    words = install_line(extra).split()
    assert words[:2] == ["pip", "install"] and len(words) > 2
    needed = {line.partition(";")[0] for line in requires("cascade-clip") or ()}
    assert {word.strip("'") for word in words[2:]} <= needed


@pytest.mark.proof
def test_a_users_mypy_sees_the_types(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", ".cache", "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    told = [line for line in done.stdout.splitlines() if line.startswith("program.py")]
    assert len(told) == 3, done.stdout
    assert "ndarray" in told[0] and "program.py:5: note" in told[0]
    assert 'Argument 1 to "from_pretrained"' in told[1] and "program.py:6: error" in told[1]
    assert "list[cascade_clip.segmentation.Segmentation]" in told[2]
