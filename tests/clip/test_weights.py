"""CLIP weights from files: the same CLIP comes out of every format, and nothing else gets in."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cascade_clip.clip import hub, load
from cascade_clip.clip.build import build_clip
from cascade_clip.clip.load import load_clip
from cascade_clip.clip.torchscript import read_torchscript
from cascade_clip.config import ClipSettings
from cascade_clip.errors import UserError

WIDTH, PATCH, IMAGE = 64, 8, 32
SIZES: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {
        "layers": 2, "width": WIDTH, "head_width": 16, "patch_size": PATCH, "image_size": IMAGE
    },
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}  # fmt: skip
ARCHITECTURES = {
    "Tiny": SIZES,
    "Tiny-quickgelu": {**SIZES, "quick_gelu": True},
    "Tiny-pooled": {**SIZES, "vision_cfg": {**SIZES["vision_cfg"], "pool_type": "avg"}},
}
TEXTS = ["a photo of a cat", "grass"]


@pytest.fixture(scope="module", autouse=True)
def architectures(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Adds small architectures to those that open_clip knows by name."""
    folder = tmp_path_factory.mktemp("architectures")
    for name, config in ARCHITECTURES.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    clip = build_clip(32, SIZES["vision_cfg"], SIZES["text_cfg"])
    torch.nn.init.constant_(clip.ln_final.bias, 0.1)  # as if it were trained
    return {name: value.clone() for name, value in clip.state_dict().items()}


def write_safetensors(path: Path, state: dict[str, Tensor]) -> None:
    save_file(state, path)


def write_state(path: Path, state: dict[str, Tensor]) -> None:
    torch.save(state, path)


def write_training_checkpoint(path: Path, state: dict[str, Tensor]) -> None:
    wrapped = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": wrapped}, path)


def write_torchscript(path: Path, state: dict[str, Tensor]) -> None:
    """As OpenAI's archives: a traced module in half precision, layer norms in full."""
    clip = build_clip(32, SIZES["vision_cfg"], SIZES["text_cfg"], quick_gelu=True)
    clip.load_state_dict(state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokens = open_clip.get_tokenizer("Tiny")(TEXTS)
        traced = torch.jit.trace(clip, (torch.zeros(2, 3, IMAGE, IMAGE), tokens), strict=False)
        for module in traced.modules():
            if "LayerNorm" not in module.original_name:
                for parameter in module.parameters(recurse=False):
                    parameter.data = parameter.data.half()
        torch.jit.save(traced, path)


def loaded(path: Path, model: str = "Tiny", quick_gelu: bool | None = None) -> dict[str, Tensor]:
    settings = ClipSettings(model=model, pretrained=str(path), quick_gelu=quick_gelu)
    return load_clip(settings).model.state_dict()


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("clip.safetensors", write_safetensors),
        ("clip.pt", write_state),
        ("open_clip_pytorch_model.bin", write_state),
        ("epoch_3.pt", write_training_checkpoint),
        ("a-file-without-ending", write_safetensors),
    ],
)
def test_every_format_gives_the_same_weights(
    tmp_path: Path,
    state: dict[str, Tensor],
    name: str,
    write: Callable[[Path, dict[str, Tensor]], None],
) -> None:
    write(tmp_path / name, state)
    found = loaded(tmp_path / name)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_a_torchscript_archive_is_read_as_torch_reads_it(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    path = tmp_path / "ViT-B-16.pt"
    write_torchscript(path, state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = torch.jit.load(path, map_location="cpu").state_dict()
    found = read_torchscript(path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert expected["visual.conv1.weight"].dtype == torch.float16
    assert all(value.dtype == torch.float32 for value in loaded(path).values())


class Trap:
    """What a hostile file holds: unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


@pytest.mark.parametrize("torchscript", [False, True])
def test_a_file_with_code_in_it_is_refused_and_never_run(tmp_path: Path, torchscript: bool) -> None:
    path, trace = tmp_path / "hostile.pt", tmp_path / "it-ran"
    if torchscript:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("hostile/data.pkl", pickle.dumps(Trap(trace), protocol=2))
            archive.writestr("hostile/constants.pkl", pickle.dumps(()))
    else:
        torch.save({"visual.conv1.weight": Trap(trace)}, path)
    with pytest.raises(UserError, match=r"no part of a CLIP|only weights are read"):
        loaded(path)
    assert not trace.exists()


def test_random_weights_are_said(
    tmp_path: Path, state: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "clip.pt"
    for bias, said in ((0.0, 1), (1e-4, 0)):
        write_state(path, {**state, "ln_final.bias": torch.full_like(state["ln_final.bias"], bias)})
        load_clip(ClipSettings(model="Tiny", pretrained=str(path), quick_gelu=False))
        assert capsys.readouterr().err.count("random weights") == said


def test_differences_are_listed_by_name_and_size(tmp_path: Path, state: dict[str, Tensor]) -> None:
    other = dict(state)
    other["visual.conv1.weight"] = torch.zeros(WIDTH, 3, 16, 16)
    del other["ln_final.bias"]
    other["extra"] = torch.zeros(1)
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(UserError) as refused:
        loaded(tmp_path / "other.safetensors")
    message = str(refused.value)
    assert "visual.conv1.weight is 64x3x16x16, Tiny has 64x3x8x8" in message
    assert "1 missing: ln_final.bias" in message
    assert "1 unexpected: extra" in message


@pytest.mark.parametrize("name", ["clip.safetensors", "clip.pt", "archive.pt"])
def test_a_damaged_file_is_named(tmp_path: Path, state: dict[str, Tensor], name: str) -> None:
    write = {"clip.safetensors": write_safetensors, "clip.pt": write_state}
    path = tmp_path / name
    write.get(name, write_torchscript)(path, state)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=name):
        loaded(path)


def activation(path: Path, model: str = "Tiny", quick_gelu: bool | None = None) -> str:
    settings = ClipSettings(model=model, pretrained=str(path), quick_gelu=quick_gelu)
    block: Any = load_clip(settings).visual.transformer.resblocks[0]  # type: ignore[union-attr]
    return type(block.mlp.gelu).__name__


def test_the_activation_is_known_given_or_said(
    tmp_path: Path, state: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    archive, plain = tmp_path / "archive.pt", tmp_path / "clip.safetensors"
    write_torchscript(archive, state)
    save_file(state, plain)
    assert activation(archive) == "QuickGELU"  # OpenAI's, by its form
    assert activation(plain, quick_gelu=True) == "QuickGELU"
    assert activation(plain, quick_gelu=False) == "GELU"
    assert activation(plain, "Tiny-quickgelu") == "QuickGELU"
    assert capsys.readouterr().err == ""
    assert activation(plain) == "GELU"
    assert "GELU is assumed" in " ".join(capsys.readouterr().err.split())
    beside = {"model_cfg": {**SIZES, "quick_gelu": True}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(beside))
    assert activation(plain) == "QuickGELU"
    assert capsys.readouterr().err == ""


def test_a_file_is_normalised_as_the_configuration_beside_it_says(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    save_file(state, tmp_path / "clip.safetensors")
    beside = {"model_cfg": SIZES, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(beside))
    clip = load_clip(ClipSettings(model="Tiny", pretrained=str(tmp_path / "clip.safetensors")))
    assert (clip.mean, clip.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def test_a_wrong_activation_is_an_error(tmp_path: Path, state: dict[str, Tensor]) -> None:
    archive, plain = tmp_path / "archive.pt", tmp_path / "clip.safetensors"
    write_torchscript(archive, state)
    save_file(state, plain)
    with pytest.raises(UserError, match=r"trained with QuickGELU.*quick_gelu=false"):
        activation(archive, quick_gelu=False)
    with pytest.raises(UserError, match="'Tiny-quickgelu' has QuickGELU"):
        activation(plain, "Tiny-quickgelu", quick_gelu=False)
    with pytest.raises(UserError, match="'openai' was trained with QuickGELU"):
        load_clip(ClipSettings(model="ViT-B-16", pretrained="openai", quick_gelu=False))


@pytest.mark.parametrize("act", ["gelu", "quick_gelu"])
def test_the_same_weights_embed_as_in_transformers(tmp_path: Path, act: str) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    config = transformers.CLIPConfig(
        text_config={
            "vocab_size": 49408, "hidden_size": 32, "intermediate_size": 128, "hidden_act": act,
            "num_hidden_layers": 2, "num_attention_heads": 2, "projection_dim": 32,
            "bos_token_id": 49406, "eos_token_id": 49407,
        },
        vision_config={
            "hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_hidden_layers": 2,
            "num_attention_heads": 4, "image_size": IMAGE, "patch_size": PATCH, "hidden_act": act,
            "projection_dim": 32,
        },
        projection_dim=32,
    )  # fmt: skip
    theirs = transformers.CLIPModel(config).eval()
    for parameter in theirs.parameters():  # larger than they start, so that activations matter
        parameter.data += 0.1 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path)
    ours = load_clip(ClipSettings(model="Tiny", pretrained=str(tmp_path / "model.safetensors")))
    images = torch.randn(2, 3, IMAGE, IMAGE)
    with torch.no_grad():
        outputs = theirs(input_ids=ours.tokenize(TEXTS), pixel_values=images)
        image = nn.functional.normalize(ours.model.encode_image(images), dim=-1)
    text = nn.functional.normalize(ours.text_encoder.encode_texts(TEXTS), dim=-1)
    torch.testing.assert_close(image, outputs.image_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(text, outputs.text_embeds, atol=1e-5, rtol=0)


def test_offline_the_file_to_bring_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError) as refused:
        load_clip(ClipSettings(model="ViT-B-16", pretrained="openai"))
    message = str(refused.value)
    repository, file = "timm/vit_base_patch16_clip_224.openai", "open_clip_model.safetensors"
    assert f"hf download {repository} {file}" in message
    assert "model.clip.pretrained=PATH model.clip.quick_gelu=true" in message
    assert f"models--timm--vit_base_patch16_clip_224.openai from its hub cache into {tmp_path}" in (
        message
    )


@pytest.mark.parametrize(("tag", "revision"), [("openai", None), ("openai@abc/1", "abc/1")])
def test_published_weights_at_a_revision(
    tag: str, revision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(address: str, quick_gelu: bool, asked: str | None) -> Path:
        raise UserError(f"{address} {asked}")

    monkeypatch.setattr(load, "find_on_hub", find)
    with pytest.raises(UserError, match=rf"\.openai/ {revision}$"):
        load_clip(ClipSettings(model="ViT-B-16-quickgelu", pretrained=tag))


def test_without_a_connection_nothing_is_tried_again_and_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = []

    def refuse(url: str) -> None:
        asked.append(url)
        raise RuntimeError("nobody answers")  # no OSError, as those of the hub's HTTP client

    monkeypatch.setattr(hub, "get_hf_file_metadata", refuse)
    with pytest.raises(UserError, match="the hub can't be reached: nobody answers"):
        hub.find_on_hub("nobody/nothing/", quick_gelu=True, revision="v1")
    assert len(asked) == 1 and "/nobody/nothing/resolve/v1/" in asked[0]
    assert not caplog.records


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("Tiny", "clip.pt", "neither a weights file nor published weights"),
        ("ViT-B-16", "openay", "there are openai"),
        ("Tiny", None, "needs weights"),
        ("RN50", "openai", "another form"),
        ("ViT-B-16-SigLIP", "webli", "another form"),
    ],
)
def test_what_cannot_be_loaded_says_why(
    tmp_path: Path, model: str, pretrained: str | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_clip(ClipSettings(model=model, pretrained=pretrained))


def test_an_image_encoder_that_pools_patches_is_refused(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    save_file(state, tmp_path / "clip.safetensors")
    with pytest.raises(UserError, match="another form"):
        loaded(tmp_path / "clip.safetensors", "Tiny-pooled")
