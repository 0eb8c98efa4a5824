"""Models to others and back: folders with a card, and a hub on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import torch
import yaml

from cascade_clip.checkpoint.folder import load_bundle
from cascade_clip.checkpoint.locate import is_hub_id, locate_model
from cascade_clip.clip.load import load_clip
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.picturebook import CLASSES, UNSEEN, draw_scene
from cascade_clip.segmenter import Segmenter
from tests.checkpoint.hub_server import COMMIT, Hub, only_hub

PICTURE = draw_scene(3, 0, (40, 48)).image


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub, an empty cache, and somebody who is logged in."""
    with only_hub(monkeypatch, tmp_path / "cache") as hub:
        monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
        monkeypatch.chdir(tmp_path)
        yield hub


@pytest.fixture(scope="module")
def seg(tiny_overrides: list[str]) -> Segmenter:
    torch.manual_seed(0)
    recipe = load_recipe("cascade-clip/picturebook/inductive", tiny_overrides)
    clip = load_clip(recipe.model.clip)
    network = SegmentationNetwork(clip.visual, recipe.model)
    metrics = {"val_miou_seen": 0.4321, "val_hiou": None}
    return Segmenter(network, clip, ClassSet(CLASSES, UNSEEN), recipe, metrics=metrics)


def test_a_saved_folder_holds_a_card_and_gives_the_same_labels(
    seg: Segmenter, tmp_path: Path
) -> None:
    folder = seg.save_pretrained(tmp_path / "model", licence="apache-2.0")
    # The CLIP of this model lies in a folder of this machine, so it goes along.
    assert {file.name for file in folder.iterdir()} == {
        "README.md", "clip", "config.json", "model.safetensors",
    }  # fmt: skip
    loaded = Segmenter.from_pretrained(folder)
    assert loaded.metrics == seg.metrics
    assert np.array_equal(loaded(PICTURE).labels, seg(PICTURE).labels)
    again = loaded.save_pretrained(tmp_path / "again")
    assert load_bundle(again).has_trunk
    with pytest.raises(UserError, match="is no model folder"):
        seg.save_pretrained(tmp_path)


def test_paths_of_this_machine_stay_here(
    seg: Segmenter, tiny_overrides: list[str], tmp_path: Path
) -> None:
    recipe = load_recipe(
        "cascade-clip/picturebook/inductive",
        [*tiny_overrides, "data.name=folder", "data.root=/home/me/photos",
         "train.start_from=/home/me/runs/book-1"],
    )  # fmt: skip
    there = Segmenter(seg.network, seg.clip, ClassSet(CLASSES, UNSEEN), recipe)
    folder = there.save_pretrained(tmp_path / "model")
    assert "/home/me" not in (folder / "config.json").read_text()
    kept = load_bundle(folder).recipe
    assert (kept.data.root, kept.train.start_from) == (Path("photos"), Path("book-1"))


def test_the_card_says_what_a_user_has_to_know(seg: Segmenter, tmp_path: Path) -> None:
    card = (seg.save_pretrained(tmp_path / "model") / "README.md").read_text()
    _, header, text = card.split("---\n", 2)
    facts = yaml.safe_load(header)
    assert facts["library_name"] == "cascade-clip"
    assert facts["pipeline_tag"] == "image-segmentation"
    assert facts["license"] == "other" and "keep the licences" in " ".join(text.split())
    for name in seg.trained_classes.seen:
        assert name in text.split("without masks")[0]
    assert ", ".join(UNSEEN) in text
    assert "val miou seen | 43.2" in text and "hiou" not in text
    assert "{6, 7, 8} {9, 10, 11} {12}" in text
    assert seg.clip.fingerprint in text
    assert 'from_pretrained("organisation/model")' in text
    assert str(tmp_path) not in text


def test_to_the_hub_and_back(seg: Segmenter, hub: Hub) -> None:
    address = seg.push_to_hub("zoo/cats", private=True, licence="mit")
    assert address == f"{hub.url}/zoo/cats"
    assert hub.created[0]["visibility" if "visibility" in hub.created[0] else "private"]
    files = hub.repositories["zoo/cats"]
    assert set(files) > {"README.md", "config.json", "model.safetensors"}
    assert b'from_pretrained("zoo/cats")' in files["README.md"]
    files["notes/large.bin"] = b"not needed"

    loaded = Segmenter.from_pretrained("zoo/cats", revision="v1")
    assert np.array_equal(loaded(PICTURE).labels, seg(PICTURE).labels)
    fetched = Path("cache/models--zoo--cats/snapshots") / COMMIT
    assert (fetched / "config.json").exists() and not (fetched / "notes").exists()

    assert locate_model("zoo/cats@v1") == locate_model(f"zoo/cats@{COMMIT}") == fetched.absolute()
    with pytest.raises(UserError, match="no revision 'v9'"):
        locate_model("zoo/cats@v9")
    with pytest.raises(UserError, match="names another revision than v1"):
        Segmenter.from_pretrained("zoo/cats@main", revision="v1")

    hub.repositories.clear()  # what was fetched once is there without the hub
    again = Segmenter.from_pretrained("zoo/cats", revision=COMMIT)
    assert again.clip.fingerprint == seg.clip.fingerprint


def test_what_the_hub_refuses_is_said_in_a_line(
    seg: Segmenter, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories |= {"zoo/other": {"model.bin": b"x"}, "zoo/gated": {}, "zoo/cats": {}}
    hub.gated.add("zoo/gated")
    with pytest.raises(UserError, match="no model of this name"):
        locate_model("zoo/none")
    for name, revision, message in (
        ("zoo/none", None, "no folder zoo/none here, and no model of this name"),
        ("zoo/cats", "v9", "no revision 'v9'"),
        ("zoo/gated", None, "asks for consent"),
        ("zoo/other", None, "is no model of cascade-clip"),
        ("zoo/a--b", None, "organisation/model"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            Segmenter.from_pretrained(name, revision=revision)
        assert "\n" not in str(caught.value)
    hub.refuses_uploads = True
    with pytest.raises(UserError, match="hf auth login"):
        seg.push_to_hub("zoo/new")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="can't be reached, and its cache does not hold"):
        Segmenter.from_pretrained("zoo/unknown")
    with pytest.raises(UserError, match="revision is for models on the hub"):
        Segmenter.from_pretrained("picturebook", revision="v1")


def test_paths_are_not_taken_for_names_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("zoo-here").mkdir()
    assert is_hub_id("zoo/cats") and is_hub_id("zoo/cats-v1.0_b") and is_hub_id("zoo/cats@a/b")
    for path in (
        "runs/mistyped",
        "zoo-here/x",
        "cats",
        "./zoo/cats",
        "/zoo/cats",
        "zoo/cats/model",
        "../cats",
    ):
        assert not is_hub_id(path)
    for model, message in (("runs/mistyped", "no model in runs/mistyped"), ("a.onnx", "no such")):
        with pytest.raises(UserError, match=message):
            locate_model(model)
