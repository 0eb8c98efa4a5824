"""The command `report`: where it writes its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade_clip.config.recipes import load_recipe
from tests.analysis.models import write_model
from tests.cli.test_train import CommandLine


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch)


def test_a_model_folder_gets_the_page(line: CommandLine, tiny_overrides: list[str]) -> None:
    write_model(line.folder / "mine", load_recipe("picturebook-single", tiny_overrides))
    out = line.works("report", "mine", "--scenes", "2", "-q")
    assert "written: mine/report.html\n" in out
    again = line.works("report", "mine", "--scenes", "2", "-q")
    assert "written: mine/report.html (an earlier page was replaced)\n" in again
    page = (line.folder / "mine/report.html").read_text(encoding="utf-8")
    assert "Per class" in page and "Worst pictures" in page


def test_the_embedded_model_stays_the_embedded_model(line: CommandLine) -> None:
    out = line.works("report", "picturebook", "--scenes", "2", "-q")
    assert "written: runs/report-picturebook.html" in out
    # A folder of that name would be taken for a model from then on.
    assert [entry.name for entry in line.folder.iterdir()] == ["runs"]


def test_no_model_is_one_line_and_exit_2(line: CommandLine) -> None:
    (line.folder / "photos").mkdir()
    done = line("report", "photos")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no model in photos")
    assert not list((line.folder / "photos").iterdir())
