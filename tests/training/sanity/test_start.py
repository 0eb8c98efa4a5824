"""What a run starts from is told before its first step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cascade_clip.config.recipes import load_recipe
from cascade_clip.training.run import train
from cascade_clip.training.sanity.start import CHECK


def told(out: Path) -> dict[str, str]:
    report = json.loads((out / "sanity.json").read_text())
    return next(entry for entry in report if entry["check"] == CHECK)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, tiny_overrides: list[str]) -> Path:
    """Models of one step: `inductive` has seen masks of some classes, `full` of all."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("inductive", "full"):
        recipe = load_recipe(f"cascade-clip/picturebook/{name}", [*tiny_overrides, "train.steps=1"])
        train(recipe, folder / name, quiet=True)
    return folder


def test_self_training_from_nothing_is_told_even_to_the_quiet(
    tmp_path: Path, tiny_overrides: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe(
        "cascade-clip/picturebook/transductive", [*tiny_overrides, "train.steps=1"]
    )
    train(recipe, tmp_path, quiet=True)
    assert told(tmp_path)["outcome"] == "note"
    line = capfd.readouterr().err.splitlines()[0]
    assert line.startswith(f"note: {CHECK}: untrained")
    assert line.endswith("train.start_from=RUN/model-STEP")


@pytest.mark.parametrize(("start", "outcome"), [("inductive", "ok"), ("full", "note")])
def test_a_model_that_knows_masks_of_unseen_classes_is_told(
    models: Path, tmp_path: Path, tiny_overrides: list[str], start: str, outcome: str
) -> None:
    settings = [*tiny_overrides, "train.steps=1", f"train.start_from={models / start}"]
    train(load_recipe("cascade-clip/picturebook/transductive", settings), tmp_path, quiet=True)
    finding = told(tmp_path)
    assert finding["outcome"] == outcome
    assert f"cascade-clip/picturebook/{start} ({start})" in finding["detail"]
    assert ("masks of cat" in finding["detail"]) == (outcome == "note")


def test_from_clip_alone_is_as_it_should_be(models: Path) -> None:
    assert told(models / "inductive")["outcome"] == "ok"
