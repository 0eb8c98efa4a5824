"""docs/adding-a-method.md does what it says: its code, applied to a copy, passes the contract."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^`(\S+)`[^\n]*:\n\n```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
"""(file, language, text); a text in the language `diff` is a change, any other one a new file."""


def apply(folder: Path) -> None:
    for name, language, text in BLOCKS:
        path = folder / name
        if language != "diff":
            assert not path.exists()
            path.write_text(text, encoding="utf-8")
            continue
        content = path.read_text(encoding="utf-8")
        for hunk in text.split("@@\n"):
            lines = hunk.splitlines(keepends=True)
            old, new = ("".join(x[1:] for x in lines if x[0] in marks) for marks in (" -", " +"))
            assert content.count(old) == 1, f"{name} does not hold {old}"
            content = content.replace(old, new)
        path.write_text(content, encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    for name in ("src", "tests", "docs"):
        ignored = shutil.ignore_patterns("__pycache__", "golden", "images")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    apply(folder)
    return folder


def test_a_method_is_few_lines_in_few_files() -> None:
    names = {name for name, _, _ in BLOCKS if not name.startswith("docs/")}
    assert len(names) == 5
    added = [
        line
        for name, language, text in BLOCKS
        if name.startswith("src/")
        for line in text.splitlines()
        if line.strip("+ ") and (language != "diff" or line.startswith("+"))
    ]
    assert 20 < len(added) <= 40


@pytest.mark.parametrize("marked", ["not proof", pytest.param("proof", marks=pytest.mark.proof)])
def test_the_new_head_passes_the_contract(copy: Path, marked: str) -> None:
    suite = ["tests/contracts/test_heads.py", "-k", "cosine", "-m", marked]
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *suite],
        cwd=copy, capture_output=True, text=True, timeout=600,
        env={"PYTHONPATH": f"{copy / 'src'}:{copy}", "HOME": str(copy)},
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout
    assert int(re.findall(r"(\d+) passed", finished.stdout)[0]) >= (1 if marked == "proof" else 14)
