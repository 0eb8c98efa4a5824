from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cascade_clip.errors import UserError
from cascade_clip.picturebook import CLASSES, draw_scene, export_voc
from cascade_clip.picturebook.export import voc_palette


def test_what_is_written_is_what_was_drawn(tmp_path: Path) -> None:
    root = tmp_path / "new" / "book"
    export_voc(root, count=10, seed=3, size=32)
    assert [p.name for p in root.parent.iterdir()] == ["book"]
    lists = root / "ImageSets" / "Segmentation"
    train = (lists / "train.txt").read_text().split()
    val = (lists / "val.txt").read_text().split()
    assert (len(train), len(val)) == (8, 2)
    assert sorted(train + val) == [f"{i:06d}" for i in range(10)]
    assert (root / "classes.txt").read_text().split() == list(CLASSES)
    captions = dict(
        line.split("\t") for line in (root / "captions.txt").read_text().strip().split("\n")
    )
    for index in range(10):
        scene, stem = draw_scene(3, index, 32), f"{index:06d}"
        mask = Image.open(root / "SegmentationClass" / f"{stem}.png")
        assert mask.mode == "P"
        assert np.array_equal(np.asarray(mask), scene.mask)
        picture = np.asarray(Image.open(root / "JPEGImages" / f"{stem}.jpg"), dtype=float)
        assert np.abs(picture - scene.image).mean() < 12.0
        assert captions[stem] == scene.caption


def test_palette_is_that_of_voc() -> None:
    palette = np.array(voc_palette()).reshape(256, 3)
    assert palette[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette[15].tolist() == [192, 128, 128]
    assert palette[255].tolist() == [224, 224, 192]
    assert len(np.unique(palette, axis=0)) == 256


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not an empty folder"):
        export_voc(tmp_path, count=3, seed=1, size=32)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(("count", "size"), [(0, 32), (1, 32), (3, 8), (-2, 64)])
def test_silly_numbers_are_refused(tmp_path: Path, count: int, size: int) -> None:
    with pytest.raises(UserError):
        export_voc(tmp_path / "book", count=count, seed=1, size=size)
    assert not any(tmp_path.iterdir())
