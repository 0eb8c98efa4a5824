"""`Segmenter` on exported files: sliding windows, names, offsets and thresholds as with PyTorch."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from cascade_clip.checkpoint.folder import Bundle
from cascade_clip.errors import UserError
from cascade_clip.picturebook import draw_scene
from cascade_clip.segmenter import Segmenter

SIZES = [(40, 50), (33, 100), (64, 64), (90, 31), (40, 50), (1, 1), (3, 200)]
PICTURES = [draw_scene(5, i, (200, 200)).image[:h, :w] for i, (h, w) in enumerate(SIZES)]


@pytest.fixture(scope="module")
def plain(onnx_model: tuple[Bundle, Path]) -> Segmenter:
    return of_bundle(onnx_model[0])


def of_bundle(bundle: Bundle) -> Segmenter:
    return Segmenter.of(bundle)


@pytest.mark.filterwarnings("ignore::cascade_clip.segmenter.ShrunkPicture")
def test_the_same_labels_with_free_classes(
    plain: Segmenter, onnx_model: tuple[Bundle, Path]
) -> None:
    exported = Segmenter.from_pretrained(onnx_model[1], engine="onnxruntime")
    assert exported.trained_classes == plain.trained_classes
    for options in ({}, {"background": 0.5, "class_offsets": {"sky": 0.02}}):
        asked = ("cat, house|houses, grass, sky, zebra", options)
        expected, found = (seg(PICTURES, asked[0], **asked[1]) for seg in (plain, exported))
        for one, other in zip(expected, found, strict=True):
            assert np.mean(one.labels == other.labels) >= 0.999
            assert np.allclose(one.scores, other.scores, atol=1e-4)
            assert [entry.seen for entry in one.legend] == [entry.seen for entry in other.legend]
    assert len(np.unique(np.concatenate([result.labels.ravel() for result in expected]))) > 2
    assert exported(PICTURES[0]).classes == plain(PICTURES[0]).classes


def test_fixed_classes_need_no_clip(fixed_onnx_model: tuple[Bundle, Path]) -> None:
    bundle, file = fixed_onnx_model
    exported, plain = Segmenter.from_pretrained(file), of_bundle(bundle)
    assert exported.clip.fingerprint == bundle.clip.fingerprint
    assert exported(PICTURES[0]).classes == ("cat", "grass", "houses")
    for asked in (None, "houses, cat", "lawn, grass|houses"):
        found = exported(PICTURES[:4], asked)
        expected = plain(PICTURES[:4], asked or "cat, grass|lawn, houses")
        for one, other in zip(expected, found, strict=True):
            assert np.mean(one.labels == other.labels) >= 0.999
            assert one.legend[0].seen == other.legend[0].seen
    for options in ({"classes": "cat, dog"}, {"classes": "cat", "templates": "a drawn {}"}):
        with pytest.raises(UserError, match="knows the classes cat, grass, lawn, houses"):
            exported(PICTURES[0], **options)  # type: ignore[arg-type]


def test_requests_that_files_cannot_meet(onnx_model: tuple[Bundle, Path], tmp_path: Path) -> None:
    file = onnx_model[1]
    with pytest.raises(UserError, match=r"onnxruntime runs \.onnx files"):
        Segmenter.from_pretrained("picturebook", engine="onnxruntime")
    with pytest.raises(UserError, match=r"onnxruntime runs \.onnx files"):
        Segmenter.from_pretrained(file, engine="torch")
    with pytest.raises(UserError, match="torch or onnxruntime"):
        Segmenter.from_pretrained(file, engine="tensorrt")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="precision of its export"):
        Segmenter.from_pretrained(file, precision="bf16")
    with pytest.raises(UserError, match="keeps the crop"):
        Segmenter.from_pretrained(file, inference={"crop": 64})
    with pytest.raises(UserError, match="no such file"):
        Segmenter.from_pretrained(tmp_path / "nowhere.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exported = Segmenter.from_pretrained(file)
    with pytest.raises(UserError, match="loaded from a model folder"):
        exported.save_pretrained(tmp_path / "copy")


def test_a_damaged_file_is_told_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.pt2").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"model\.pt2 can't be loaded by torch\.export"):
        Segmenter.from_pretrained(tmp_path / "model.pt2")
    (warning,) = capfd.readouterr().err.splitlines()  # and nothing of torch's
    assert "open only files of people you trust" in warning
