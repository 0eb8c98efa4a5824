from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cascade_clip.clip.load import WEIGHTS_FILE, embedded_folder, load_clip, load_clip_folder
from cascade_clip.clip.source import CONFIG_FILE
from cascade_clip.clip.weights import fingerprint
from cascade_clip.config import ClipSettings
from cascade_clip.config.model import EMBEDDED_CLIPS
from cascade_clip.errors import UserError
from cascade_clip.picturebook import THINGS, SceneSettings, draw_scene
from tests.conftest import write_clip


@pytest.fixture
def folder(tiny_clip_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_clip_folder, tmp_path / "clip"))


def test_a_folder_gives_a_frozen_clip_with_its_sizes(folder: Path) -> None:
    clip = load_clip(ClipSettings(model=f"local-dir:{folder}"))
    assert (clip.embed_dim, clip.image_size, clip.patch_size, clip.depth) == (32, 32, 8, 12)
    assert not clip.model.training
    assert not any(p.requires_grad for p in clip.model.parameters())


@pytest.mark.parametrize("name", EMBEDDED_CLIPS)
def test_embedded_clips_know_what_is_in_a_picture(name: str) -> None:
    clip = load_clip(ClipSettings(model=name))
    weights = embedded_folder(name) / WEIGHTS_FILE
    assert clip.name == name and weights.stat().st_size < 12e6
    one = SceneSettings(things=(1, 1), stuff=(1, 1))
    scenes = [draw_scene(60_000, index, clip.image_size, one) for index in range(20)]
    images = torch.stack([torch.from_numpy(scene.image) for scene in scenes])
    with torch.no_grad():
        pictures = clip.model.encode_image(images.permute(0, 3, 1, 2) / 127.5 - 1.0)  # (20, d)
    found = (pictures @ clip.text_encoder(THINGS).T).argmax(dim=1)
    right = [
        THINGS[index] == scene.items[0].name for index, scene in zip(found, scenes, strict=True)
    ]
    assert sum(right) >= 17


def test_fingerprint_sees_every_weight_and_no_order() -> None:
    state = {"a": torch.arange(4.0), "b": torch.ones(2, 2)}
    changed = {"a": torch.arange(4.0), "b": torch.tensor([[1.0, 1.0], [1.0, 1.0001]])}
    renamed = {"a": torch.arange(4.0), "c": torch.ones(2, 2)}
    reshaped = {"a": torch.arange(4.0), "b": torch.ones(4, 1)}
    same = {"b": torch.ones(2, 2), "a": torch.arange(4.0)}
    assert fingerprint(state) == fingerprint(same)
    assert len({fingerprint(s) for s in (state, changed, renamed, reshaped)}) == 4


@pytest.mark.parametrize("missing", [CONFIG_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(UserError, match=missing.replace(".", r"\.")):
        load_clip_folder(folder, "x")


def test_truncated_weights_and_broken_config_are_user_errors(folder: Path) -> None:
    weights = folder / WEIGHTS_FILE
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="can't be read"):
        load_clip_folder(folder, "x")
    weights.write_bytes(whole)
    (folder / CONFIG_FILE).write_text("{")
    with pytest.raises(UserError, match="can't be read"):
        load_clip_folder(folder, "x")


def test_weights_of_another_size_are_refused_with_their_names(folder: Path) -> None:
    state = load_file(folder / WEIGHTS_FILE)
    state["ln_final.weight"] = torch.ones(7)
    save_file(state, folder / WEIGHTS_FILE)
    with pytest.raises(UserError, match=r"ln_final\.weight"):
        load_clip_folder(folder, "x")


def test_an_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown CLIP 'ViT-B-61'.*ViT-B-16"):
        load_clip(ClipSettings(model="ViT-B-61", pretrained="openai"))


def test_an_architecture_without_weights_lists_the_tags() -> None:
    with pytest.raises(UserError, match=r"needs weights.*openai"):
        load_clip(ClipSettings(model="ViT-B-16"))


def test_a_missing_weights_file_is_a_user_error(tmp_path: Path) -> None:
    settings = ClipSettings(model="ViT-B-32", pretrained=str(tmp_path / "none.pt"))
    with pytest.raises(UserError, match=r"none\.pt"):
        load_clip(settings)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model_cfg": None}, "describes no CLIP"),
        ({"preprocess_cfg": ...}, "lacks 'preprocess_cfg'"),
        ({"vision_cfg": {"layerz": 2}}, "describes no CLIP"),
        ({"vision_cfg": {"layers": 10**9}}, "more layers than"),
        ({"embed_dim": 1 << 50}, "does not fit its CLIP"),
        (
            {"text_cfg": {"hf_model_name": "roberta-base"}},
            "text encoder of .* another form",
        ),
    ],
)
def test_folders_that_describe_no_clip_say_so(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    folder = write_clip(tmp_path / "clip", seed=0)
    config = json.loads((folder / CONFIG_FILE).read_text())
    for key, value in change.items():
        (config if key in config else config["model_cfg"])[key] = value
        if value is ...:
            del config[key]
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    with pytest.raises(UserError, match=expected):
        load_clip_folder(folder, "broken")
