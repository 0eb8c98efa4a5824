"""The demonstration, small, on a tiny CLIP with random weights."""

from pathlib import Path

import pytest

from cascade_clip.cli.demo_run import RAW, DemoSettings, _fresh_run, run_demo
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.factory import open_dataset
from cascade_clip.errors import UserError
from cascade_clip.io.folder_lock import LOCK_FILE
from cascade_clip.picturebook import CLASSES, UNSEEN
from cascade_clip.report.chosen import choose_scenes


def small(overrides: list[str]) -> DemoSettings:
    return DemoSettings(steps=2, scenes=3, shown=2, typed=1, overrides=tuple(overrides))


def test_it_trains_measures_and_reports_and_can_be_repeated(
    tmp_path: Path, tiny_overrides: list[str]
) -> None:
    result = run_demo(tmp_path, small(tiny_overrides), quiet=True)
    assert list(result.rows) == ["cascade", "single", RAW]
    assert result.classes.unseen == UNSEEN
    text = result.report.read_text(encoding="utf-8")
    for expected in ("blocks 6-8", "blocks 9-11", "block 12", "raw CLIP", "training cascade"):
        assert expected in text
    assert (tmp_path / "cascade" / "model" / "config.json").is_file()
    assert (tmp_path / "scenes" / "scene-1-overlay.png").is_file()
    again = run_demo(tmp_path, small(tiny_overrides), quiet=True)
    assert again.rows["cascade"].pixel_accuracy == result.rows["cascade"].pixel_accuracy


def test_a_folder_with_something_else_is_left_alone(
    tmp_path: Path, tiny_overrides: list[str]
) -> None:
    (tmp_path / "cascade").mkdir()
    (tmp_path / "cascade" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="choose another"):
        run_demo(tmp_path, small(tiny_overrides), quiet=True)
    assert (tmp_path / "cascade" / "thesis.txt").read_text() == "mine"


def test_the_scenes_shown_cover_the_unseen_classes() -> None:
    recipe = load_recipe("cascade-clip/picturebook/inductive", ["data.picturebook.size=32"])
    dataset = open_dataset(recipe.data, "test", 40)
    pool = [dataset[index] for index in range(40)]
    classes = ClassSet(CLASSES, UNSEEN)
    chosen = choose_scenes(pool, classes, 6)
    assert len(chosen) == 6
    assert len({sample.name for sample in chosen}) == 6
    shown = {int(label) for sample in chosen for label in sample.labels.unique()}
    assert set(classes.unseen_indices) <= shown
    assert choose_scenes(pool[:2], classes, 6) != []


def test_a_demo_that_was_killed_at_its_start_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).touch()
    assert _fresh_run(tmp_path) == tmp_path
    (tmp_path / "letter.txt").touch()
    with pytest.raises(UserError, match="no run of a demonstration"):
        _fresh_run(tmp_path)
