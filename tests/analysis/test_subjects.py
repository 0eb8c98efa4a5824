"""What an analysis looks at, and which blocks of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from cascade_clip.analysis.pictures import open_pictures
from cascade_clip.analysis.subjects import Subject, open_subjects, parse_blocks
from cascade_clip.analysis.windows import window_side
from cascade_clip.checkpoint.folder import Bundle
from cascade_clip.config import DataSettings, InferenceSettings
from cascade_clip.data.drawn import PicturebookDataset
from cascade_clip.errors import UserError


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        (None, tuple(range(1, 13))),
        ("12", (12,)),
        ("6-9,12", (6, 7, 8, 9, 12)),
        (" 3 - 4 , 4,1", (1, 3, 4)),
    ],
)
def test_blocks(text: str | None, blocks: tuple[int, ...]) -> None:
    assert parse_blocks(text, 12) == blocks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("13", "block 13 doesn't exist; the image encoder has blocks 1 to 12"),
        ("0,14-99", "block 0, 14, 99 doesn't exist"),
        ("6-999999999", "block 999999999 doesn't exist"),
        ("9-6", "from the smaller to the larger"),
        ("last", "numbers with commas and ranges"),
        ("", "numbers with commas and ranges"),
        ("-3", "numbers with commas and ranges"),
    ],
)
def test_blocks_that_are_none(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_blocks(text, 12)


def test_projections_are_those_of_the_network(
    subjects: list[Subject], scenes: PicturebookDataset
) -> None:
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for subject in subjects:
        encoder = subject.encoder
        with torch.no_grad():
            levels = encoder(image)
            blocks = subject.tokens(image, scenes.classes)
            found = {b: subject.projected(b, tokens) for b, tokens in blocks}
        projected = {block: each for block, each in found.items() if each is not None}
        assert tuple(projected) == levels.blocks
        for block, feature in zip(levels.blocks, levels.features, strict=True):
            torch.testing.assert_close(projected[block], feature)


def test_the_other_network(bundle: Bundle, model_folder: Path) -> None:
    data = bundle.recipe.data
    alone = open_subjects(bundle, data, None)
    assert [subject.name for subject in alone] == ["cascade-clip/picturebook/inductive"]
    twice = open_subjects(bundle, data, str(model_folder))
    assert [s.name for s in twice] == [
        "cascade-clip/picturebook/inductive",
        "cascade-clip/picturebook/inductive (model)",
    ]
    raw = open_subjects(bundle, data, "raw-clip")[1]
    assert raw.normalisation == bundle.clip.normalisation
    assert raw.network.encoder.visual is not bundle.network.encoder.visual
    with pytest.raises(UserError, match="no model in nowhere"):
        open_subjects(bundle, data, "nowhere")


def test_the_window_fits_every_patch() -> None:
    settings = InferenceSettings(crop=512, stride=426, short_side=448)
    assert window_side(settings, [16]) == 448
    assert window_side(settings, [16, 14]) == 448
    assert window_side(settings, [32, 14]) == 448
    assert window_side(InferenceSettings(crop=100, stride=50), [32]) == 96
    assert window_side(InferenceSettings(crop=10, stride=5), [16]) == 16


def test_pictures_need_no_masks(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        Image.new("RGB", (20, 10), "red").save(tmp_path / f"{name}.png")
    settings = DataSettings(name="folder", root=tmp_path)
    found = open_pictures(settings, "test", 2, tmp_path / "out")
    assert len(found) == 2
    assert (found[0].name, tuple(found[0].image.shape)) == ("a", (3, 10, 20))
    assert found[0].labels.unique().tolist() == [255]
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match="is no data set"):
        open_pictures(settings, "test", None, tmp_path / "out")
