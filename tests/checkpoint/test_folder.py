"""Model folders: what comes back is what was saved; everything else is a clear error."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import cascade_clip
from cascade_clip.checkpoint import CONFIG_FILE, WEIGHTS_FILE
from cascade_clip.checkpoint.folder import load_bundle, load_model
from cascade_clip.checkpoint.locate import find_model
from cascade_clip.checkpoint.save import save_model
from cascade_clip.clip.load import FrozenClip, load_clip
from cascade_clip.config import Recipe
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.model.network import SegmentationNetwork
from tests.conftest import write_clip

CLASSES = ClassSet(("cat", "grass", "boat"), ("boat",))
IMAGE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TEXT = torch.nn.functional.normalize(
    torch.randn(3, 32, generator=torch.Generator().manual_seed(1)), dim=-1
)


@pytest.fixture
def recipe(tiny_overrides: list[str]) -> Recipe:
    return load_recipe("cascade-clip/picturebook/inductive", tiny_overrides)


@pytest.fixture
def parts(recipe: Recipe) -> tuple[SegmentationNetwork, FrozenClip]:
    clip = load_clip(recipe.model.clip)
    torch.manual_seed(5)
    return SegmentationNetwork(clip.visual, recipe.model).eval(), clip


@pytest.fixture
def saved(tmp_path: Path, recipe: Recipe, parts: tuple[SegmentationNetwork, FrozenClip]) -> Path:
    network, clip = parts
    metrics = {"val_miou": 0.25, "val_miou_unseen": math.nan}
    return save_model(tmp_path / "model", network, recipe, CLASSES, clip, metrics=metrics)


def test_round_trip(
    saved: Path, recipe: Recipe, parts: tuple[SegmentationNetwork, FrozenClip]
) -> None:
    network, clip = parts
    bundle = load_bundle(saved)
    assert bundle.recipe == recipe
    assert bundle.classes == CLASSES
    assert bundle.templates == ("a photo of a {}",)
    assert bundle.metrics == {"val_miou": 0.25, "val_miou_unseen": None}
    assert bundle.clip.fingerprint == clip.fingerprint
    assert not bundle.network.training
    with torch.no_grad():
        expected = network(IMAGE, TEXT).mask_logits
        assert torch.equal(bundle.network(IMAGE, TEXT).mask_logits, expected)
        assert torch.equal(cascade_clip.load_model(saved)(IMAGE, TEXT).mask_logits, expected)


def test_the_frozen_clip_is_not_stored(saved: Path) -> None:
    names = load_file(saved / WEIGHTS_FILE).keys()
    assert names
    assert not [name for name in names if name.startswith("encoder.visual.")]
    assert sorted(path.name for path in saved.iterdir()) == [CONFIG_FILE, WEIGHTS_FILE]
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_saving_again_replaces_the_model(
    saved: Path, recipe: Recipe, parts: tuple[SegmentationNetwork, FrozenClip]
) -> None:
    network, clip = parts
    save_model(saved, network, recipe, ClassSet(("one",)), clip)
    assert load_bundle(saved).classes == ClassSet(("one",))
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_what_prompts_said_comes_back(
    saved: Path, recipe: Recipe, parts: tuple[SegmentationNetwork, FrozenClip]
) -> None:
    network, clip = parts
    classes = ClassSet(("pottedplant", "cat"), ("cat",), ("potted plant", "cat"))
    save_model(saved, network, recipe, classes, clip)
    assert load_bundle(saved).classes == classes


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_a_full_model_brings_its_clip(tmp_path: Path, recipe: Recipe, quick_gelu: bool) -> None:
    folder = write_clip(tmp_path / "clip", seed=7, quick_gelu=quick_gelu)
    settings = recipe.model.clip.model_copy(update={"model": f"local-dir:{folder}"})
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"clip": settings})})
    clip = load_clip(settings)
    network = SegmentationNetwork(clip.visual, recipe.model).eval()
    with torch.no_grad():
        expected = network(IMAGE, TEXT).mask_logits
    save_model(tmp_path / "model", network, recipe, CLASSES, clip, full=True)
    words = clip.text_encoder(CLASSES.names)
    shutil.rmtree(folder)
    moved = (tmp_path / "model").rename(tmp_path / "moved")
    bundle = load_bundle(moved)
    assert bundle.has_trunk
    with torch.no_grad():
        assert torch.equal(bundle.network(IMAGE, TEXT).mask_logits, expected)
    assert torch.equal(bundle.clip.text_encoder(CLASSES.names), words)


@pytest.mark.parametrize("full", [False, True])
def test_fine_tuned_image_encoders_come_back(tmp_path: Path, recipe: Recipe, full: bool) -> None:
    encoder = recipe.model.encoder.model_validate({"tuning": "last-blocks", "tuned_blocks": 1})
    recipe = recipe.model_copy(
        update={"model": recipe.model.model_copy(update={"encoder": encoder})}
    )
    clip = load_clip(recipe.model.clip)
    _ = clip.fingerprint  # before training, as a run takes it
    network = SegmentationNetwork(clip.visual, recipe.model).eval()
    with torch.no_grad():
        clip.visual.transformer.resblocks[-1].mlp.c_fc.bias.add_(1.0)
        expected = network(IMAGE, TEXT).mask_logits
        save_model(tmp_path / "model", network, recipe, CLASSES, clip, full=full)
        assert torch.equal(load_model(tmp_path / "model")(IMAGE, TEXT).mask_logits, expected)


def test_a_model_is_not_written_over_a_file(
    saved: Path, recipe: Recipe, parts: tuple[SegmentationNetwork, FrozenClip]
) -> None:
    file = saved / CONFIG_FILE
    before = file.read_bytes()
    with pytest.raises(UserError, match="no model folder"):
        save_model(file, parts[0], recipe, CLASSES, parts[1])
    assert file.read_bytes() == before


def change_config(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / CONFIG_FILE).read_text())
        (folder / CONFIG_FILE).write_text(json.dumps({**config, **values}))

    return change


def change_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        state = load_file(folder / WEIGHTS_FILE)
        change(state)
        save_file(state, folder / WEIGHTS_FILE)

    return write


def spoil(state: dict[str, torch.Tensor]) -> None:
    next(iter(state.values())).view(-1)[0] = math.nan


def truncate(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / WEIGHTS_FILE).unlink(), "is missing; the model folder"),
        (truncate, "is damaged"),
        (lambda folder: (folder / WEIGHTS_FILE).write_bytes(b""), "is damaged"),
        (lambda folder: (folder / CONFIG_FILE).write_text("{"), "can't be read"),
        (lambda folder: (folder / CONFIG_FILE).write_text("[]"), "can't be read"),
        (lambda folder: (folder / CONFIG_FILE).write_text("[" * 5000), "nested too deep"),
        (change_config(format_version=99), "format version 99, this program reads 1"),
        (change_config(surprise=1), "not a model's configuration: surprise"),
        (change_config(classes=[]), "at least one class name"),
        (change_config(unseen=["dog"]), "unseen dog"),
        (change_config(recipe={"name": "x", "trian": {}}), "unknown setting 'trian'"),
        (change_config(clip_fingerprint="0" * 64), "trained on another CLIP"),
        (change_weights(lambda state: state.popitem()), "belong to another model: missing"),
        (change_weights(lambda state: state.update(x=torch.ones(1))), "unexpected x"),
        (change_weights(spoil), "not finite"),
    ],
)
def test_damaged_folders(saved: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(saved)
    with pytest.raises(UserError, match=message):
        load_bundle(saved)


def test_another_clip_of_the_same_size(saved: Path, tmp_path: Path) -> None:
    other = write_clip(tmp_path / "other", seed=1)
    config = json.loads((saved / CONFIG_FILE).read_text())
    config["recipe"]["model"]["clip"]["model"] = f"local-dir:{other}"
    (saved / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"another CLIP.*fingerprint"):
        load_bundle(saved)


def test_where_models_are_looked_for(saved: Path, tmp_path: Path) -> None:
    assert find_model(saved) == saved
    assert find_model(tmp_path) == saved  # a run folder
    with pytest.raises(UserError, match="no model in"):
        find_model(tmp_path / "elsewhere")
    (tmp_path / "stopped" / "checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match="has no finished model"):
        find_model(tmp_path / "stopped")


def test_foreign_folders_are_left_alone(
    tmp_path: Path, recipe: Recipe, parts: tuple[SegmentationNetwork, FrozenClip]
) -> None:
    network, clip = parts
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="is no model folder"):
        save_model(tmp_path, network, recipe, CLASSES, clip)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_nothing_half_written_when_saving_fails(
    saved: Path,
    recipe: Recipe,
    parts: tuple[SegmentationNetwork, FrozenClip],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    network, clip = parts
    before = (saved / WEIGHTS_FILE).read_bytes()
    monkeypatch.setattr("cascade_clip.checkpoint.stored_clip.save_file", full)
    with pytest.raises(UserError, match="No space left"):
        save_model(saved, network, recipe, ClassSet(("one",)), clip)
    assert (saved / WEIGHTS_FILE).read_bytes() == before
    assert load_bundle(saved).classes == CLASSES
    assert [path.name for path in saved.parent.iterdir()] == ["model"]
