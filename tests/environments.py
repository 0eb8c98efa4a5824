"""Environments of other tools, made by pip: for proofs that need what this project doesn't."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "build" / "environments"
"""`make clean` removes it."""


def python_with(*requirements: str, beside: bool = False) -> Path:
    """The interpreter of an environment that holds `requirements`, and nothing of this project;
    `beside` lets it take what is installed here, so that torch need not be there twice. Made once.
    Skips the test where pip can't install them."""
    folder = FOLDER / "-".join(requirements)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    complete = folder / "complete"
    if not complete.exists():
        venv.create(folder, clear=True, with_pip=True)
        if beside:
            places = subprocess.check_output(
                [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
            )
            Path(places.strip(), "beside.pth").write_text(sysconfig.get_path("purelib"))
        command = [python, "-m", "pip", "install", "--quiet", *requirements]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"pip can't install {requirements}: {done.stderr.strip()[-500:]}")
        complete.touch()
    return python


def run_alone(python: Path, script: Path, *arguments: str | Path) -> str:
    """What a script prints that runs without this project; fails with what it said if it does."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, script, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
