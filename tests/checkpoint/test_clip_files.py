"""A model on a CLIP of this machine finds it again, and takes no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from cascade_clip.checkpoint.clip_files import given_clip
from cascade_clip.checkpoint.folder import load_bundle
from cascade_clip.cli.app import app
from cascade_clip.config import ClipSettings
from cascade_clip.config.recipes import load_recipe
from cascade_clip.errors import UserError
from cascade_clip.picturebook import draw_scene
from cascade_clip.segmenter import Segmenter
from cascade_clip.training.run import train
from cascade_clip.training.run_folder import check_same_recipe
from tests.conftest import TINY_OVERRIDES, write_clip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of one step in `work/run`, on the CLIP in `work/clip`, trained within `work`."""
    work = tmp_path / "work"
    write_clip(work / "clip", seed=0, quick_gelu=True)
    monkeypatch.chdir(work)
    file = "clip/open_clip_model.safetensors"
    overrides = ["model.clip.model=auto", f"model.clip.pretrained={file}", "train.steps=1"]
    recipe = load_recipe("cascade-clip/picturebook/inductive", [*overrides, *TINY_OVERRIDES])
    train(recipe, Path("run"), quiet=True)
    monkeypatch.chdir(tmp_path)
    check_same_recipe(load_recipe(work / "run/recipe.yaml"), work / "run")  # can be resumed here
    return work


def test_from_any_folder_and_moved(place: Path, tmp_path: Path) -> None:
    fingerprint = load_bundle(place / "run").clip.fingerprint
    together = Path(shutil.move(place, tmp_path / "elsewhere"))
    assert load_bundle(together / "run").clip.fingerprint == fingerprint
    alone = shutil.move(together / "run", tmp_path / "alone")
    with pytest.raises(UserError, match=r"is not at .*work/clip/open_clip_model.* --pretrained"):
        load_bundle(alone)
    for given in ("elsewhere/clip/open_clip_model.safetensors", "local-dir:elsewhere/clip"):
        found = Segmenter.from_pretrained(alone, pretrained=given)
        assert found.clip.fingerprint == fingerprint


def test_by_option(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = Path(shutil.move(place / "clip", tmp_path / "moved")) / "open_clip_model.safetensors"
    monkeypatch.chdir(tmp_path)
    draw = draw_scene(3, 0, (32, 32)).image
    Image.fromarray(draw).save("a.png")
    segment = ["segment", "a.png", "--classes", "cat, grass", "--model", str(place / "run")]
    evaluate = ["evaluate", str(place / "run"), "--scenes", "1"]
    for command in (segment, evaluate):
        refused = CliRunner().invoke(app, command)
        assert "say where it lies with --pretrained FILE" in str(refused.exception)
        done = CliRunner().invoke(app, [*command, "-q", "--pretrained", str(weights)])
        assert done.exit_code == 0, done.output


def test_another_clip_in_its_place_is_told(place: Path, tmp_path: Path) -> None:
    file = place / "clip/open_clip_model.safetensors"
    other = write_clip(tmp_path / "other", seed=1)
    with pytest.raises(UserError, match=r"trained on another CLIP: .* --pretrained FILE"):
        load_bundle(place / "run", pretrained=str(other / file.name))
    # The same weights, beside a configuration with the other activation.
    save_file(load_file(file), other / file.name)
    with pytest.raises(UserError, match=r"trained on a CLIP with QuickGELU, but .* has GELU"):
        load_bundle(place / "run", pretrained=str(other))
    with pytest.raises(UserError, match=r"there is no weights file none\.pt"):
        load_bundle(place / "run", pretrained="none.pt")


def test_weights_that_hide_their_activation_get_that_of_the_training(tmp_path: Path) -> None:
    file = tmp_path / "clip.pt"
    file.touch()
    trained = ClipSettings(model="ViT-B-16", pretrained="openai")
    for own, expected in ((trained, "ViT-B-16"), (ClipSettings(model="local-dir:x"), "auto")):
        found = given_clip(own, str(file), True)
        assert found == ClipSettings(model=expected, pretrained=str(file), quick_gelu=True)
    assert given_clip(trained, "laion400m_e32", True).pretrained == "laion400m_e32"
    with pytest.raises(UserError, match="'openai' names no weights"):
        given_clip(ClipSettings(), "openai", None)
