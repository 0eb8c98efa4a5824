"""Published weights from a hub on this machine: fetched once, whole, and said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import open_clip
import pytest
import torch
from huggingface_hub import constants, file_download
from safetensors.torch import save

from cascade_clip.clip.build import build_clip
from cascade_clip.clip.hub import find_on_hub
from cascade_clip.clip.load import load_clip, load_clip_folder
from cascade_clip.clip.source import parse_clip
from cascade_clip.errors import UserError
from tests.checkpoint.hub_server import Hub, only_hub
from tests.conftest import TINY_CLIP

REPOSITORY = "timm/vit_base_patch16_clip_224.openai"
FILE = "open_clip_model.safetensors"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setattr(file_download.time, "sleep", lambda _: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000_000)
    with only_hub(monkeypatch, tmp_path / "cache") as hub:
        yield hub


def test_weights_are_fetched_once_with_size_and_place(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_clip, "get_model_config", lambda _: dict(TINY_CLIP))
    vision, text = TINY_CLIP["vision_cfg"], TINY_CLIP["text_cfg"]
    state = build_clip(TINY_CLIP["embed_dim"], vision, text).state_dict()
    state["ln_final.bias"] += 0.1  # as if it were trained
    weights = save({name: value.contiguous() for name, value in state.items()})
    hub.repositories[REPOSITORY] = {FILE: weights}
    clip = load_clip(parse_clip("ViT-B-16/openai"))
    assert torch.equal(clip.model.visual.proj, state["visual.proj"])
    said = " ".join(capsys.readouterr().err.split())
    assert f"downloading {REPOSITORY}/{FILE}: {len(weights) / 1e6:,.0f} MB to {tmp_path}" in said
    hub.asked.clear()
    again = load_clip(parse_clip("ViT-B-16/openai"))
    assert (again.fingerprint, hub.asked) == (clip.fingerprint, [])
    assert capsys.readouterr().err == ""


def test_a_download_that_broke_off_goes_on(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = bytes(range(256)) * 30_000
    hub.repositories["zoo/clip"] = {FILE: weights}
    hub.breaks_at = 5_000_000
    with pytest.raises(UserError, match=r"the weights zoo/clip/open_clip_model.* are not on this"):
        find_on_hub("zoo/clip/", quick_gelu=True)
    hub.breaks_at = None
    hub.asked.clear()
    capsys.readouterr()
    assert find_on_hub("zoo/clip/", quick_gelu=True).read_bytes() == weights
    fetched = [line for line in hub.asked if line.startswith("GET /large/")]
    assert len(fetched) == 1 and fetched[0].endswith("bytes=5000000-")
    assert "8 MB, of which 5 MB are here" in " ".join(capsys.readouterr().err.split())


def test_a_part_that_belongs_to_another_file_is_not_taken(hub: Hub, tmp_path: Path) -> None:
    weights = bytes(range(256)) * 1000
    hub.repositories["zoo/clip"] = {FILE: weights}
    path = find_on_hub("zoo/clip/", quick_gelu=True)
    blob = path.resolve()
    path.unlink()
    blob.unlink()
    blob.with_name(f"{blob.name}.incomplete").write_bytes(b"rubbish")
    with pytest.raises(UserError, match="what came is damaged"):
        find_on_hub("zoo/clip/", quick_gelu=True)
    assert find_on_hub("zoo/clip/", quick_gelu=True).read_bytes() == weights


def test_the_other_name_is_asked_for_and_a_repository_without_weights_is_said(hub: Hub) -> None:
    hub.repositories |= {"zoo/old": {"open_clip_pytorch_model.bin": b"x"}, "zoo/none": {}}
    assert find_on_hub("zoo/old/", quick_gelu=False).name == "open_clip_pytorch_model.bin"
    with pytest.raises(UserError, match=r"can't be downloaded \(the hub holds no such file\)"):
        find_on_hub("zoo/none/", quick_gelu=False)


def test_the_folder_to_bring_is_read_with_either_name_of_its_weights(
    tiny_clip_folder: Path, tmp_path: Path
) -> None:
    config = json.loads((tiny_clip_folder / "open_clip_config.json").read_text())
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    clip = load_clip_folder(tiny_clip_folder, "clip")
    torch.save(clip.model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    brought = load_clip(parse_clip(f"local-dir:{tmp_path}"))
    assert brought.fingerprint == clip.fingerprint
