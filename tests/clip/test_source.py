"""One text names a CLIP: published weights, a file, a folder; and what is said of all others."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from cascade_clip.clip import load
from cascade_clip.clip.architectures import describe_architecture, fitting_architecture
from cascade_clip.clip.build import sketch_clip
from cascade_clip.clip.load import load_clip
from cascade_clip.clip.source import parse_clip
from cascade_clip.clip.weights import Weights
from cascade_clip.config import ClipSettings
from cascade_clip.errors import UserError
from cascade_clip.model.fast.blocks import has_quick_gelu

QUICK = {"openai", "dfn2b", "dfn5b", "metaclip_400m", "metaclip_fullcc"}
"""Tags whose weights were trained with QuickGELU."""
FAMILIES = ("openai", "laion2b", "datacomp", "dfn", "metaclip_")
ARCHITECTURES = ("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336", "ViT-H-14", "ViT-H-14-378")
TAGS = [
    (model, tag)
    for name in ARCHITECTURES
    for model in (name, f"{name}-quickgelu")
    for tag in open_clip.list_pretrained_tags_by_model(model)
    if tag.startswith(FAMILIES)
]


def test_published_weights_files_and_folders_have_one_form_each(
    tiny_clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clip.pt").touch()
    shutil.copytree(tiny_clip_folder, "folder")
    expected = {
        "picturebook": ClipSettings(),
        "picturebook-dense": ClipSettings(model="picturebook-dense"),
        "ViT-B-16/openai": ClipSettings(model="ViT-B-16", pretrained="openai"),
        "ViT-B/16/openai": ClipSettings(model="ViT-B-16", pretrained="openai"),
        "ViT-B-16/openai@a/b": ClipSettings(model="ViT-B-16", pretrained="openai@a/b"),
        "clip.pt": ClipSettings(model="auto", pretrained="clip.pt"),
        "ViT-B-16:clip.pt": ClipSettings(model="ViT-B-16", pretrained="clip.pt"),
        "local-dir:folder": ClipSettings(model="local-dir:folder"),
        "folder": ClipSettings(model="local-dir:folder"),
    }
    assert {source: parse_clip(source) for source in expected} == expected


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("ViT-B-16", "names no weights; with those of OpenAI it is ViT-B-16/openai"),
        ("ViT-B/16", "with those of OpenAI it is ViT-B-16/openai"),
        ("ViT-B-16/", "names no weights"),
        ("", "names no CLIP"),
        ("ViT-B-16/openai@", "names no CLIP"),
        ("none.safetensors", r"there is no weights file none\.safetensors; a CLIP is ARCH"),
        ("/nowhere/ViT-B-16", "there is no weights file /nowhere/ViT-B-16"),
        ("ViT-B-16:none.pt", r"there is no weights file none\.pt"),
        ("local-dir:/nowhere", "there is no folder /nowhere; a CLIP is ARCH"),
        ("/tmp", "the folder /tmp holds no CLIP: open_clip_config.json is missing"),
        ("x" * 300, "names no weights"),
    ],
)
def test_other_texts_say_what_is_missing(source: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_clip(source)


def activations(module: Any) -> set[bool]:
    return {has_quick_gelu(block) for block in module.resblocks}


def of_one_block(config: dict[str, Any]) -> dict[str, Any]:
    parts = {part: {**config[part], "layers": 1} for part in ("vision_cfg", "text_cfg")}
    return {**config, **parts}


def test_every_tag_gets_the_activation_that_it_was_trained_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "find_on_hub", lambda *_: Path("x"))
    monkeypatch.setattr(load, "read_weights", lambda _: Weights({}, None))
    monkeypatch.setattr(load, "fill_clip", lambda model, *_: model)
    monkeypatch.setattr(load, "sketch_clip", lambda config: sketch_clip(of_one_block(config)))
    monkeypatch.setattr(load, "published_tokenizer", lambda _: None)
    assert {model for model, _ in TAGS} >= set(ARCHITECTURES)
    for model, tag in TAGS:
        clip = load_clip(parse_clip(f"{model}/{tag}"))
        found = activations(clip.model.visual.transformer) | activations(clip.model.transformer)
        assert found == {tag in QUICK}, (model, tag)


def test_an_architecture_is_of_its_own_form_or_refused_in_one_line() -> None:
    refused = {}
    for name in open_clip.list_models():
        try:
            describe_architecture(name)
        except UserError as error:
            refused[name] = str(error)
    for name in ("RN50", "convnext_base", "ViT-B-16-SigLIP2", "EVA02-B-16", "ViT-L-14-CLIPA"):
        assert f"the image encoder of '{name}' has another form" in refused[name]
    assert "the image encoder of 'coca_ViT-B-32'" in refused["coca_ViT-B-32"]
    assert "the text encoder of 'roberta-ViT-B-32'" in refused["roberta-ViT-B-32"]
    assert not [name for name in ARCHITECTURES if name in refused]
    assert not [message for message in refused.values() if "\n" in message]


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-16", "ViT-L-14-336", "ViT-H-14"])
def test_the_sizes_of_weights_tell_their_architecture(name: str) -> None:
    state = sketch_clip(open_clip.get_model_config(name)).state_dict()
    assert fitting_architecture(state, "x")[0] == name


def test_weights_for_larger_pictures_and_of_no_known_sizes() -> None:
    config = open_clip.get_model_config("ViT-B-16")
    state = sketch_clip(config).state_dict()
    state["visual.positional_embedding"] = torch.empty(28**2 + 1, 768, device="meta")
    name, found = fitting_architecture(state, "x")
    assert (name, found["vision_cfg"]["image_size"]) == ("ViT-B-16", 448)
    config["vision_cfg"]["layers"] = 11
    with pytest.raises(UserError, match=r"x fits no architecture of open_clip .width 768, patches"):
        fitting_architecture(sketch_clip(config).state_dict(), "x")
    with pytest.raises(UserError, match=r"another form.*lacks visual\.class_embedding"):
        fitting_architecture({"visual.trunk.norm": torch.ones(1)}, "x")


def test_a_file_alone_and_one_beside_its_configuration(
    tiny_clip_folder: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-S-32-alt")
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, tmp_path / "clip.safetensors")
    clip = load_clip(parse_clip(str(tmp_path / "clip.safetensors")))
    assert clip.name == f"ViT-S-32-alt/{tmp_path / 'clip.safetensors'}"
    images, tokens = torch.randn(1, 3, 224, 224), clip.tokenize(["a cat"])
    with torch.no_grad():
        for ours, theirs in zip(
            clip.model(images, tokens), model.eval()(images, tokens), strict=True
        ):
            assert torch.equal(ours, theirs)
    described = tiny_clip_folder / "open_clip_model.safetensors"  # of sizes that nobody knows
    beside, folder = (
        load_clip(parse_clip(str(described))),
        load_clip(parse_clip(str(described.parent))),
    )
    assert beside.fingerprint == folder.fingerprint and beside.mean == (0.5, 0.5, 0.5)
