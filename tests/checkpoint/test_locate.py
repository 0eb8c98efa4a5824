"""Models that are not where somebody looks for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cascade_clip.checkpoint import CONFIG_FILE
from cascade_clip.checkpoint.locate import check_trained, locate_model
from cascade_clip.errors import UserError


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("picturebok", "picturebook"),
        ("Picturebook", "picturebook"),
        ("models/picturebook", "picturebook"),
        ("models/catz", "models/cats"),
        ("cascade-clip/voc20/inductive", "runs/cascade-clip-voc20-inductive-1"),
        ("runs/cascade-clip-voc20-indutive-1", "runs/cascade-clip-voc20-inductive-1"),
        ("cats.onx", "cats.onnx"),
        ("catz.onnx", "cats.onnx"),
    ],
)
def test_a_mistyped_model_is_told_with_what_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, meant: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("models/cats", "runs/cascade-clip-voc20-inductive-1/model"):
        Path(folder).mkdir(parents=True)
        (Path(folder) / CONFIG_FILE).touch()
    Path("cats.onnx").touch()
    Path("photographs").mkdir()
    with pytest.raises(UserError, match=f"; did you mean '{meant}'\\?$"):
        locate_model(typed)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("ViT-B-16", "is a CLIP, not a trained model; use it with: --clip ViT-B-16/openai"),
        ("ViT-B/16", "--clip ViT-B-16/openai"),
        ("ViT-L-14/laion2b_s32b_b82k", "--clip ViT-L-14/laion2b_s32b_b82k"),
        ("voc20-inductive", "for photographs without a trained model: --clip ViT-B-16/openai"),
        ("nothing", "for photographs without a trained model: --clip ViT-B-16/openai"),
    ],
)
def test_what_is_taken_for_a_model_is_told_with_what_it_is_used_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(message)):
        locate_model(typed)


def test_a_run_that_is_not_there_is_not_asked_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no model in runs/nope"):
        locate_model("runs/nope")


def test_an_exported_file_is_no_trained_model() -> None:
    with pytest.raises(UserError, match="exported file; evaluate needs the model it came from"):
        check_trained("m.onnx", "evaluate")
