"""Text embeddings on disk: those of the same encoder and templates, and never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cascade_clip.clip import text, text_store
from cascade_clip.clip.load import FrozenClip, load_clip
from cascade_clip.config.model import ClipSettings

NAMES = ["cat", "house", "grass", "boat"]
TEMPLATES = tuple(f"a {word} of a {{}}" for word in ["photo", "picture", "scene", "close-up"])


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(text_store.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(text, "WORTH_KEEPING", 8)
    return tmp_path / "cache"


def new_clip(monkeypatch: pytest.MonkeyPatch | None = None) -> FrozenClip:
    """As at a new start; with `monkeypatch`, its text encoder can't be run."""
    clip = load_clip(ClipSettings())
    if monkeypatch is not None:

        def refuse(*_: Any) -> Any:
            raise AssertionError("encoded")

        monkeypatch.setattr(clip.text_encoder, "encode_texts", refuse)
    return clip


def test_a_new_start_encodes_nothing(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_clip().text_encoder(NAMES, TEMPLATES)
    again = new_clip(monkeypatch).text_encoder([*reversed(NAMES)], TEMPLATES)
    assert torch.equal(again.flip(0), first)


def test_new_names_and_other_templates_are_encoded(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_clip().text_encoder(NAMES, TEMPLATES)
    more = new_clip().text_encoder([*NAMES, "star", "sand"], TEMPLATES)
    other = new_clip().text_encoder(NAMES, TEMPLATES[::-1][:3])
    monkeypatch.setenv(text_store.CACHE_VARIABLE, "")
    without = new_clip().text_encoder
    torch.testing.assert_close(more, without([*NAMES, "star", "sand"], TEMPLATES))
    torch.testing.assert_close(other, without(NAMES, TEMPLATES[::-1][:3]))


def test_another_text_encoder_has_its_own(kept: Path) -> None:
    first = new_clip().text_encoder(NAMES, TEMPLATES)
    other = new_clip()
    with torch.no_grad():
        other.model.text_projection[0, 0] += 1
    assert not torch.allclose(other.text_encoder(NAMES, TEMPLATES), first)


def test_few_texts_are_not_worth_a_file(kept: Path) -> None:
    new_clip().text_encoder(NAMES, TEMPLATES[:1])
    assert not kept.exists()


@pytest.mark.parametrize("broken", [b"", b"rubbish" * 100])
def test_a_damaged_file_is_written_anew(kept: Path, broken: bytes) -> None:
    first = new_clip().text_encoder(NAMES, TEMPLATES)
    (file,) = kept.rglob("*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(broken)
    assert torch.equal(new_clip().text_encoder(NAMES, TEMPLATES), first)
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_to_is_no_error(kept: Path) -> None:
    kept.write_text("a file in the way")
    assert new_clip().text_encoder(NAMES, TEMPLATES).shape[0] == len(NAMES)


def test_the_oldest_names_make_room(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_store, "KEPT", 5)
    clip = new_clip()
    store = text_store.TextStore(kept, clip.model)
    names = [f"name {index}" for index in range(7)]
    store.add(TEMPLATES, dict(zip(names, torch.eye(7), strict=True)))
    assert list(store.read(names, TEMPLATES)) == names[2:]
