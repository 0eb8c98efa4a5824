"""Masks of other programs: colours with a list of them, and numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_clip.data.annotations.build import Wishes, build_folder
from cascade_clip.data.annotations.formats import Indices, read_annotations
from cascade_clip.data.folder import FolderDataset
from cascade_clip.errors import UserError
from tests.data.annotated import HEIGHT, WIDTH, built, in_square, mask, picture


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_cvat_segmentation_masks(tmp_path: Path, mode: str) -> None:
    root = tmp_path / "export"
    picture(root / "JPEGImages/sub/a.jpg")
    picture(root / "JPEGImages/b.jpg")
    (root / "SegmentationClass/sub").mkdir(parents=True)
    (root / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\n"
    )
    colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colours[1:3, 1:4] = (250, 50, 83)
    drawn = Image.fromarray(colours)
    drawn = drawn.quantize() if mode == "P" else drawn
    drawn.save(root / "SegmentationClass/sub/a.png")
    drawn.save(root / "SegmentationClass/b.png")
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("sub/a\n")
    (lists / "val.txt").write_text("b\n")
    result = build_folder(
        read_annotations(root, Indices()), Wishes(root), tmp_path / "new", 1, lambda *_: None
    )
    assert result.classes == ("cat",) and result.lists
    assert (mask(tmp_path, "sub/a") == in_square(0)).all()
    assert [pair.picture.name for pair in FolderDataset(tmp_path / "new", "val").pairs] == ["b.jpg"]
    (root / "labelmap.txt").write_text("background:0,0,0::\ndog:1,2,3::\n")
    with pytest.raises(UserError, match=r"holds the colour #fa3253 \(6 pixels\)"):
        build_folder(
            read_annotations(root, Indices()), Wishes(root), tmp_path / "no", 1, lambda *_: None
        )


def test_labelmes_voc_layout(tmp_path: Path) -> None:
    picture(tmp_path / "voc/JPEGImages/a.jpg")
    (tmp_path / "voc/SegmentationClass").mkdir()
    (tmp_path / "voc/SegmentationClassPNG").mkdir()
    (tmp_path / "voc/class_names.txt").write_text("_background_\ncat\n")
    indices = in_square(1, outside=0).astype(np.uint8)
    indices[0, 0] = 255
    np.save(tmp_path / "voc/SegmentationClass/a.npy", indices)
    Image.fromarray(indices).save(tmp_path / "voc/SegmentationClassPNG/a.png")
    result = built(tmp_path, "voc", {"background": "class"})
    assert result.classes == ("background", "cat") and (mask(tmp_path) == indices).all()


def test_masks_of_numbers(tmp_path: Path) -> None:
    picture(tmp_path / "data/images/a.jpg")
    (tmp_path / "data/masks").mkdir()
    numbers = in_square(1, outside=0).astype(np.uint8)
    numbers[0, 0], numbers[3, 5] = 11, 2
    Image.fromarray(numbers).save(tmp_path / "data/masks/a.png")
    names = {"names": ["cat", "sky"], "first": 1}
    with pytest.raises(UserError, match=r"holds 11 \(1 pixels\).* names for 0 to 2; .*--void"):
        built(tmp_path, "data", **names)
    built(tmp_path, "data", **names, void=frozenset({11}))
    expected = in_square(0)
    expected[3, 5] = 1
    assert (mask(tmp_path) == expected).all()
    with pytest.raises(UserError, match="masks without names; list them in a file: --classes"):
        read_annotations(tmp_path / "data", Indices())
