"""The result of segmenting one picture."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Path2D
from PIL import Image

from cascade_clip.errors import UserError
from cascade_clip.io import coco
from cascade_clip.io.palette import BACKGROUND, class_colours
from cascade_clip.segmentation import LegendEntry, Segmentation


def result(labels: np.ndarray, names: list[str], name: str = "scene") -> Segmentation:
    legend = tuple(
        LegendEntry(n.split("|")[0], tuple(n.split("|")), colour, float((labels == i).mean()), ())
        for i, (n, colour) in enumerate(zip(names, class_colours(names), strict=True))
    )
    picture = np.full((*labels.shape, 3), 90, dtype=np.uint8)
    return Segmentation(labels.astype(np.int16), legend, picture, name)


@pytest.fixture
def scene() -> Segmentation:
    labels = np.zeros((20, 30), dtype=np.int16)
    labels[4:12, 5:15] = 1
    labels[0] = -1
    return result(labels, ["grass", "sofa|couch", "sky"])


def test_masks_by_name_and_synonym(scene: Segmentation) -> None:
    assert scene.classes == ("grass", "sofa", "sky")
    assert scene.mask("Couch").sum() == 80
    assert np.array_equal(scene.mask("sofa"), scene.mask("couch"))
    assert scene.mask("background").sum() == 30
    assert not scene.mask("sky").any()
    assert np.array_equal(scene.mask("Sofa | couch"), scene.mask("sofa"))
    assert np.array_equal(scene.mask(1), scene.mask("sofa"))
    assert np.array_equal(scene.mask(np.int16(-1)), scene.mask("background"))
    wide = result(scene.labels, ["polar bear", "a|b", "sky"])
    assert np.array_equal(wide.mask(" polar  bear"), scene.mask("grass"))
    for name, message in (
        ("gras", "'gras' is none of the classes grass, sofa, sky; did you mean 'grass'"),
        ("sofa|sky", "is none of the classes"),
        (3, "no class 3; this result has 3, from 0"),
        (None, "called by its name, got None"),
    ):
        with pytest.raises(UserError, match=message.replace("|", "[|]")):
            scene.mask(name)  # type: ignore[arg-type]


def test_it_is_shown_without_its_arrays(scene: Segmentation) -> None:
    expected = "<Segmentation of 'scene', 30 x 20 pixels: grass 82%, sofa 13%, sky 0%>"
    assert repr(scene) == expected


def test_scores_need_a_model(scene: Segmentation) -> None:
    with pytest.raises(UserError, match="no scores"):
        _ = scene.scores


def test_overlay_keeps_background_and_uses_class_colours(scene: Segmentation) -> None:
    plain = np.asarray(scene.overlay(opacity=1.0, legend=False))
    assert plain.shape == (20, 30, 3)
    assert (plain[0] == 90).all()
    assert tuple(plain[16, 20]) == scene.legend[0].colour
    assert np.array_equal(np.asarray(scene.overlay(0.0, legend=False)), scene.image)
    with pytest.raises(UserError, match="between 0 and 1"):
        scene.overlay(1.5)


def test_the_legend_lies_below_an_enlarged_picture(scene: Segmentation) -> None:
    page = scene.overlay()
    assert page.width == 30 * 17
    assert page.height > 20 * 17
    present = {pixel for row in np.asarray(page)[20 * 17 :] for pixel in map(tuple, row)}
    colours = {entry.name: entry.colour for entry in scene.legend}
    assert {colours["grass"], colours["sofa"], BACKGROUND} <= present
    assert colours["sky"] not in present  # no pixel, no chip


@pytest.mark.parametrize("shape", [(1, 1), (1, 10_000), (10_000, 1), (3, 700)])
def test_any_shape_and_any_name_can_be_drawn(shape: tuple[int, int]) -> None:
    names = ["고양이", "🐱 cat", "x" * 10_000, "a\nb\x00c", "ネコ", "قطة"]
    labels = np.arange(shape[0] * shape[1]).reshape(shape) % len(names)
    assert result(labels, names).overlay().height > shape[0]


def test_no_legend_where_it_would_take_more_memory_than_the_picture() -> None:
    assert result(np.zeros((1, 1_000_000), int), ["sky"]).overlay().size == (1_000_000, 1)


def test_hundreds_of_classes_fit_the_legend() -> None:
    labels = np.arange(400).reshape(20, 20)
    page = result(labels, [f"class {i}" for i in range(400)]).overlay()
    assert page.height < 1200


def test_label_image_holds_indices_and_colours(scene: Segmentation, tmp_path: Path) -> None:
    path = scene.save_labels(tmp_path / "labels.png")
    with Image.open(path) as image:
        assert image.mode == "P"
        values = np.asarray(image)
        assert values[0, 0] == 255
        assert np.array_equal(values[1:], scene.labels[1:])
        assert tuple(np.asarray(image.convert("RGB"))[5, 6]) == scene.legend[1].colour


def test_more_than_255_classes_take_16_bits(tmp_path: Path) -> None:
    labels = np.arange(-1, 399).reshape(20, 20)
    path = result(labels, [f"class {i}" for i in range(400)]).save_labels(tmp_path / "labels.png")
    with Image.open(path) as image:
        values = np.asarray(image)
    assert values[0, 0] == 65535
    assert values[-1, -1] == 398


def test_coco_gives_the_masks_back(scene: Segmentation) -> None:
    record = json.loads(json.dumps(scene.to_coco()))
    names = {category["id"]: category["name"] for category in record["categories"]}
    assert list(names.values()) == ["grass", "sofa", "sky"]
    for annotation in record["annotations"]:
        mask = coco.decode_mask(annotation["segmentation"])
        assert np.array_equal(mask, scene.mask(names[annotation["category_id"]]))
        assert annotation["area"] == mask.sum()
    assert len(record["annotations"]) == 2
    assert record["images"][0] == {"id": 1, "file_name": "scene.png", "height": 20, "width": 30}


def test_polygons_enclose_their_regions(scene: Segmentation) -> None:
    polygons = scene.to_polygons()
    assert set(polygons) == {"grass", "sofa"}
    assert len(polygons["grass"]) == 2  # the outline and the hole
    (outline,) = polygons["sofa"]
    assert outline[0].tolist() == outline[-1].tolist()
    assert outline.min(axis=0) == pytest.approx((5, 4))
    assert outline.max(axis=0) == pytest.approx((15, 12))


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 9))
def test_polygons_hold_the_centres_of_their_pixels_and_no_others(
    seed: int, height: int, width: int
) -> None:
    labels = np.random.default_rng(seed).integers(-1, 3, (height, width))
    scene = result(labels, ["a", "b", "c"])
    y, x = np.mgrid[:height, :width] + 0.5
    centres = np.column_stack([x.ravel(), y.ravel()])
    for name, lines in scene.to_polygons().items():
        inside = np.zeros(labels.size, dtype=bool)
        for line in lines:  # even-odd: a hole lies within its outline
            inside ^= Path2D(line).contains_points(centres)
        assert np.array_equal(inside.reshape(labels.shape), scene.mask(name))


def test_supervision_gets_masks_boxes_and_names(scene: Segmentation) -> None:
    confidence = np.where(scene.labels == 1, 0.75, 0.25).astype(np.float16)
    detections = replace(scene, confidence=confidence).to_supervision()
    assert detections["class_name"].tolist() == ["grass", "sofa"]
    assert detections.class_id is not None and detections.class_id.tolist() == [0, 1]
    assert detections.xyxy.tolist() == [[0, 1, 30, 20], [5, 4, 15, 12]]
    assert detections.confidence is not None and detections.confidence.tolist() == [0.25, 0.75]
    assert isinstance(detections.mask, np.ndarray)
    assert np.array_equal(detections.mask[1], scene.mask("sofa"))
    assert detections[detections["class_name"] == "sofa"].area.tolist() == [80]
    nothing = result(np.full((4, 5), -1), ["cat"]).to_supervision()
    assert len(nothing) == 0 and nothing.confidence is None


def test_supervision_is_asked_for_when_missing(
    scene: Segmentation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UserError, match="pip install supervision"):
        scene.to_supervision()


def test_saving_by_suffix(scene: Segmentation, tmp_path: Path) -> None:
    for suffix in (".png", ".jpg", ".webp"):
        with Image.open(scene.save(tmp_path / f"overlay{suffix}")) as image:
            assert image.width == 30 * 17
    stored = np.load(scene.save(tmp_path / "new" / "labels.npz"))
    assert np.array_equal(stored["labels"], scene.labels)
    assert stored["classes"].tolist() == ["grass", "sofa", "sky"]
    assert json.loads(scene.save(tmp_path / "a.json").read_text())["annotations"]
    for bad in (scene.save, scene.save_labels):
        with pytest.raises(UserError, match="xyz"):
            bad(tmp_path / "a.xyz")
