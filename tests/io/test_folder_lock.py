"""Two commands never write into one folder, and what killed ones leave behind stops nobody."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from cascade_clip.config import Recipe
from cascade_clip.config.recipes import load_recipe
from cascade_clip.errors import UserError
from cascade_clip.io.folder_lock import hold_folder
from cascade_clip.training.run import train

HOLDER = """
import sys, time
from pathlib import Path
from cascade_clip.io.folder_lock import hold_folder
with hold_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_command_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    out = tmp_path / "a/out"
    with hold_folder(out):
        with pytest.raises(UserError, match=r"another command writes into .*out"), hold_folder(out):
            pass
        (out / "result").touch()
    with hold_folder(out):
        pass
    assert [path.name for path in out.iterdir()] == ["result"]


def test_the_lock_of_a_killed_command_ends_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another command"), hold_folder(tmp_path / "out"):
            pass
        process.send_signal(signal.SIGKILL)
    with hold_folder(tmp_path / "out"):
        pass


def test_a_folder_made_for_nothing_goes_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), hold_folder(tmp_path / "a/b"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_vanishes_is_an_error(tmp_path: Path, again: bool) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="removed or replaced"), hold_folder(out) as held:
        held.check()
        shutil.rmtree(out)
        if again:
            out.mkdir()
        with pytest.raises(UserError, match="removed or replaced"):
            held.check()


def test_what_killed_commands_left_half_written_is_cleared(tmp_path: Path) -> None:
    left = [f".{uuid4().hex}.png", f"masks/.{uuid4().hex}.png", f"masks/a/.{uuid4().hex}"]
    kept = [".hidden.png", "result.png", f"other/.{uuid4().hex}.png"]
    for name in (*left, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folder = tmp_path / f".{uuid4().hex}"  # as of a model
    folder.mkdir()
    (folder / "config.json").touch()
    with hold_folder(tmp_path, "masks"):
        assert not any((tmp_path / name).exists() for name in left) and not folder.exists()
    assert all((tmp_path / name).exists() for name in kept)


def test_training_is_refused_in_a_folder_of_another_run(tmp_path: Path) -> None:
    recipe: Recipe = load_recipe("cascade-clip/picturebook/inductive")
    with hold_folder(tmp_path / "run"), pytest.raises(UserError, match="another command"):
        train(recipe, tmp_path / "run", quiet=True)
