import json
import subprocess
import sys
import zlib

import numpy as np
import pytest

from cascade_clip.errors import UserError
from cascade_clip.picturebook import (
    CLASSES,
    STUFF,
    THINGS,
    UNSEEN,
    Scene,
    SceneSettings,
    draw_scene,
    phrases,
)

MASK_CRC = [252233037, 3537676137, 3833530946, 2502581146, 98339825, 3105711186]
"""CRC-32 of the masks of scenes 0, 1, ... of book 7 at 64 px, whatever the machine."""


def mask_crc(index: int) -> int:
    return zlib.crc32(draw_scene(7, index, 64).mask.tobytes())


@pytest.fixture(scope="module")
def book() -> list[Scene]:
    return [draw_scene(11, index, 48) for index in range(300)]


def test_classes_are_listed_in_label_order() -> None:
    assert (len(THINGS), len(STUFF), len(set(CLASSES))) == (16, 6, 22)
    assert CLASSES == THINGS + STUFF
    assert set(UNSEEN) < set(CLASSES)
    assert set(UNSEEN) & set(THINGS) and set(UNSEEN) & set(STUFF)


def test_same_scene_twice() -> None:
    first, second = draw_scene(3, 5), draw_scene(3, 5)
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.mask, second.mask)
    assert (first.caption, first.items) == (second.caption, second.items)


def test_seed_and_index_both_matter() -> None:
    assert not np.array_equal(draw_scene(1, 2).image, draw_scene(2, 1).image)
    assert not np.array_equal(draw_scene(1, 2).image, draw_scene(1, 3).image)


def test_masks_match_their_recorded_checksums() -> None:
    assert [mask_crc(index) for index in range(len(MASK_CRC))] == MASK_CRC


def test_another_process_draws_the_same() -> None:
    script = (
        "import json, zlib\n"
        "from cascade_clip.picturebook import draw_scene\n"
        "s = draw_scene(4, 9, (40, 56))\n"
        "print(json.dumps([zlib.crc32(s.image.tobytes()), zlib.crc32(s.mask.tobytes()),"
        " s.caption]))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    here = draw_scene(4, 9, (40, 56))
    crcs = [zlib.crc32(here.image.tobytes()), zlib.crc32(here.mask.tobytes())]
    assert json.loads(run.stdout) == [*crcs, here.caption]


def test_resolution_does_not_change_the_scene() -> None:
    for index in range(12):
        small, large = draw_scene(2, index, 96), draw_scene(2, index, 288)
        assert np.mean(small.mask == large.mask[1::3, 1::3]) > 0.97
        means = large.image.reshape(96, 3, 96, 3, 3).mean(axis=(1, 3))
        assert np.abs(means - small.image).mean() < 5.0


def test_every_class_occurs_with_a_sane_area(book: list[Scene]) -> None:
    areas: dict[str, list[float]] = {name: [] for name in CLASSES}
    for scene in book:
        for item in scene.items:
            areas[item.name].append(item.area)
    for name, found in areas.items():
        assert len(found) >= 10, name
        assert 0.04 < np.mean(found) < 0.8, name


def test_mask_items_and_caption_agree(book: list[Scene]) -> None:
    for scene in book:
        assert scene.mask.dtype == np.uint8
        assert scene.mask.max() < len(CLASSES)
        share = np.bincount(scene.mask.ravel(), minlength=len(CLASSES)) / scene.mask.size
        named = {item.name for item in scene.items}
        assert {name for name, s in zip(CLASSES, share, strict=True) if s >= 0.01} >= named
        # Two slivers of one class may reach the limit only together.
        assert {name for name, s in zip(CLASSES, share, strict=True) if s >= 0.02} <= named
        words = scene.caption.replace(",", "").split()
        for name in CLASSES:
            assert words.count(name) == sum(item.name == name for item in scene.items)


def test_phrases_name_items_with_and_without_colour() -> None:
    scene = draw_scene(1, 0, 32, classes=["cat", "grass"])
    colour = scene.items[0].colour
    assert phrases(scene)[:2] == ["cat", f"{colour} cat"]
    assert phrases(scene)[-1] == "grass"


def test_edges_are_blended() -> None:
    scene = draw_scene(1, 4, 96, SceneSettings(things=(1, 1), stuff=(1, 1)))
    coarse = draw_scene(1, 4, 288, SceneSettings(things=(1, 1), stuff=(1, 1)))
    picked = coarse.image[1::3, 1::3].astype(float)
    assert np.abs(np.diff(scene.image.astype(float), axis=1)).mean() < (
        np.abs(np.diff(picked, axis=1)).mean()
    )


def test_wide_pictures() -> None:
    scene = draw_scene(1, 1, (48, 80))
    assert scene.image.shape == (48, 80, 3)
    assert scene.mask.shape == (48, 80)
    assert len(np.unique(scene.mask[:, 60:])) >= 1


def test_only_the_wanted_classes_and_counts() -> None:
    settings = SceneSettings(things=(2, 2), stuff=(2, 2), thing_size=(0.3, 0.4))
    for index in range(20):
        scene = draw_scene(1, index, 48, settings, classes=["key", "car", "brick", "sky"])
        names = [item.name for item in scene.items]
        assert set(names) <= {"key", "car", "brick", "sky"}
        assert sum(name in THINGS for name in names) <= 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": 15},
        {"size": (64, 8)},
        {"seed": -1},
        {"index": -1},
        {"classes": ["cat", "dragon"]},
        {"classes": ["cat"]},
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(UserError):
        draw_scene(**({"seed": 1, "index": 1} | arguments))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [
        {"things": (3, 1)},
        {"things": (0, 99)},
        {"stuff": (0, 2)},
        {"thing_size": (0.5, 1.5)},
        {"max_overlap": -0.1},
        {"min_visible": 0.9},
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UserError):
        SceneSettings(**settings)  # type: ignore[arg-type]
