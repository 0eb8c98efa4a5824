"""Annotations in the forms that other programs write, small, and what is made of them."""

from __future__ import annotations

import base64
import json
import shutil
import unicodedata
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cascade_clip.data.annotations.formats import Indices, read_annotations
from cascade_clip.data.annotations.labelstudio import picture_of, unpack
from cascade_clip.data.annotations.naming import read_renaming
from cascade_clip.data.folder import FolderDataset
from cascade_clip.errors import UserError
from tests.data.annotated import HEIGHT, SQUARE, WIDTH, built, in_square, mask, picture


def coco(root: Path, annotations: list[dict[str, Any]], **image: Any) -> None:
    picture(root / "images/a.JPG")
    shown = {"id": 7, "file_name": "a.JPG", "height": HEIGHT, "width": WIDTH, **image}
    content = {
        "images": [shown],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "e\u0301cole"}],
        "annotations": [
            {"id": number, "image_id": 7, "iscrowd": 0, **annotation}
            for number, annotation in enumerate(annotations, start=1)
        ],
    }
    (root / "coco.json").write_text(json.dumps(content), encoding="utf-8")


def test_coco_polygons_run_lengths_and_crowds(tmp_path: Path) -> None:
    column = {"size": [HEIGHT, WIDTH], "counts": [20, 4]}
    coco(
        tmp_path,
        [
            {"category_id": 9, "segmentation": [[2, 1, 3, 1, 3, 3, 2, 3]]},
            {"category_id": 3, "segmentation": [SQUARE, [0, 0, 1, 0, 1, 1, 0, 1]]},
            {"category_id": 9, "segmentation": column, "iscrowd": 1},
        ],
    )
    result = built(tmp_path, "coco.json")
    assert result.classes == ("cat", "\u00e9cole")
    expected = in_square(0)
    expected[0, 0], expected[1:3, 2], expected[:, 5] = 0, 1, 1  # the smaller on top
    assert (mask(tmp_path) == expected).all()
    assert (tmp_path / "new/images/a.JPG").is_file()
    assert result.overlapping == {"a.JPG": 2}
    assert len(FolderDataset(tmp_path / "new", "train")) + len(result.problems) == 1


def test_coco_compressed_as_pycocotools_writes_it(tmp_path: Path) -> None:
    tools = pytest.importorskip("pycocotools.mask")
    region = np.random.default_rng(0).integers(0, 2, (HEIGHT, WIDTH), np.uint8)
    rle = tools.encode(np.asfortranarray(region))
    rle["counts"] = rle["counts"].decode()
    coco(tmp_path, [{"category_id": 3, "segmentation": rle}])
    built(tmp_path, "coco.json")
    assert ((mask(tmp_path) == 0) == region).all()


def test_everything_that_is_not_taken_is_named(tmp_path: Path) -> None:
    coco(
        tmp_path,
        [
            {"category_id": 3, "segmentation": [SQUARE]},
            {"category_id": 3, "segmentation": [[1, 1, 2, 2]]},
            {"category_id": 3, "segmentation": [[1, 1, 2, 2, "x", 3]]},
            {"category_id": 3, "segmentation": [[1, 1, 2, 2, 1e308, -1e308]]},
            {"category_id": 3, "bbox": [0, 0, 1, 1]},
            {"category_id": 4, "segmentation": [SQUARE]},
            {"category_id": 3, "segmentation": [[-9, 0, 1, 0, 1, 1, -9, 1]]},
        ],
    )
    result = built(tmp_path, "coco.json")
    assert dict(result.found.not_taken) == {
        "regions that make no sense": 3,
        "boxes and keypoints without a region": 1,
        "annotations of an image or a category that is not listed": 1,
        "parts of regions beyond their picture": 1,
    }
    named = result.found.examples["regions that make no sense"]
    assert named[0] == "coco.json annotation 2: a polygon of 2 points encloses nothing"
    expected = in_square(0)
    expected[0, 0] = 0
    assert (mask(tmp_path) == expected).all()


@pytest.mark.parametrize(
    ("image", "segmentation", "message"),
    [
        ({}, {"size": [6, 4], "counts": [24]}, "annotation 1: run lengths are for 4 x 6 pixels"),
        ({}, {"size": [HEIGHT, WIDTH], "counts": [9]}, "annotation 1: runs of 9 pixels"),
        ({"file_name": "b.jpg"}, [SQUARE], r"coco.json image 7: no picture b\.jpg in"),
        ({"height": 6, "width": 4}, [SQUARE], "is for 4 x 6 pixels, its picture .* has 6 x 4; it"),
    ],
)
def test_what_does_not_fit_is_an_error_and_leaves_nothing(
    tmp_path: Path, image: dict[str, Any], segmentation: Any, message: str
) -> None:
    coco(tmp_path, [{"category_id": 3, "segmentation": segmentation}], **image)
    with pytest.raises(UserError, match=message):
        built(tmp_path, "coco.json")
    assert not [path for path in tmp_path.iterdir() if path.name not in ("images", "coco.json")]


def test_unknown_names_are_refused_or_mapped(tmp_path: Path) -> None:
    coco(tmp_path, [{"category_id": 3, "segmentation": [SQUARE]}])
    with pytest.raises(
        UserError, match=r"names 'cat' \(1 regions\).*did you mean 'cats'.*--rename"
    ):
        built(tmp_path, "coco.json", {"classes": ["dog", "cats"]})
    (tmp_path / "map.yaml").write_text("{cat: dog, e\u0301cole: null}", encoding="utf-8")
    renamed = read_renaming(tmp_path / "map.yaml")
    built(tmp_path, "coco.json", {"classes": ["cats", "dog"], "renamed": renamed})
    assert (mask(tmp_path) == in_square(1)).all()


def test_a_background_of_its_own(tmp_path: Path) -> None:
    coco(tmp_path, [{"category_id": 3, "segmentation": [SQUARE]}])
    result = built(tmp_path, "coco.json", {"background": "class"})
    assert result.classes == ("background", "cat", "\u00e9cole")
    assert (mask(tmp_path) == in_square(1, outside=0)).all()
    with pytest.raises(UserError, match="is there already"):
        built(tmp_path, "coco.json")


def test_cvat_for_images(tmp_path: Path) -> None:
    picture(tmp_path / "images/park/a.png")
    (tmp_path / "annotations.xml").write_text(
        f"""<?xml version="1.0" encoding="utf-8"?>
        <annotations><version>1.1</version>
        <meta><task><labels><label><name>cat</name></label><label><name>sky</name></label></labels>
        </task></meta>
        <image id="0" name="park/a.png" width="{WIDTH}" height="{HEIGHT}">
        <polygon label="sky" points="1.0,1.0;4.0,1.0;4.0,3.0;1.0,3.0" z_order="2"/>
        <mask label="cat" rle="1, 3, 2, 2" left="0" top="0" width="4" height="2" z_order="0"/>
        <box label="cat" xtl="0" ytl="0" xbr="3" ybr="3" z_order="0"/>
        <polygon label="cat" points="1.0,1.0;4.0,1.0" z_order="0"/>
        </image></annotations>"""
    )
    result = built(tmp_path, "annotations.xml")
    expected = np.full((HEIGHT, WIDTH), 255)
    expected[0, 1:4] = expected[1, 2:4] = 0
    expected[1:3, 1:4] = 1
    assert (mask(tmp_path) == expected).all()
    assert dict(result.found.not_taken) == {
        "CVAT's box annotations": 1,
        "regions that make no sense": 1,
    }
    (tmp_path / "video.xml").write_text("<annotations><track id='0'/></annotations>")
    with pytest.raises(UserError, match="is 'CVAT for video'"):
        read_annotations(tmp_path / "video.xml", Indices())


def brush() -> list[int]:
    """rle-pack of RGBA pixels whose alpha is 255 in the square: runs, and values one by one."""
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    rgba[1:3, 1:4] = (9, 8, 7, 255)
    values = rgba.ravel()
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits += f"1{2:02b}{27:08b}{0:08b}"  # 28 zeros
    bits += f"0{2:02b}{len(values) - 29:08b}" + "".join(f"{value:08b}" for value in values[28:])
    bits += "0" * (-len(bits) % 8)
    return [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def labelstudio_task(url: str, *results: dict[str, Any], **keys: Any) -> dict[str, Any]:
    common = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    done = [{"id": number, **common, **result} for number, result in enumerate(results)]
    return {"id": 5, "data": {"image": url}, "annotations": [{"result": done}], **keys}


def test_label_studio(tmp_path: Path) -> None:
    picture(tmp_path / "images/a b.png")
    rle = {
        "type": "brushlabels",
        "value": {"format": "rle", "rle": brush(), "brushlabels": ["cat"]},
    }
    points = [[0, 0], [100, 0], [100, 25], [0, 25]]
    line = {"type": "polygonlabels", "value": {"points": points, "polygonlabels": ["sky"]}}
    task = labelstudio_task("/data/local-files/?d=images/a%20b.png", rle, line, {"type": "choices"})
    task["annotations"].insert(0, {"result": [{"type": "polygonlabels"}]})
    task["annotations"].append({"was_cancelled": True, "result": []})
    (tmp_path / "project.json").write_text(json.dumps([task]))
    result = built(tmp_path, "project.json")
    expected = in_square(0)
    expected[0] = 1
    assert (mask(tmp_path, "a b") == expected).all()
    assert dict(result.found.not_taken) == {
        "Label Studio's choices results": 1,
        "earlier annotations of one picture": 1,
    }
    with pytest.raises(UserError, match="a brush that is cut short"):
        unpack(brush()[:-9])


def test_addresses_of_label_studio() -> None:
    assert picture_of("/data/local-files/?d=a%26b/c%20%231.jpg") == "a&b/c #1.jpg"
    assert picture_of("/data/upload/12/0a1b2c3d-cat%201.jpg") == "cat 1.jpg"
    assert picture_of("s3://bucket/day/cat.jpg") == "/day/cat.jpg"


def test_cocos_own_folder_and_one_in_which_nothing_is_annotated(tmp_path: Path) -> None:
    coco(tmp_path, [{"category_id": 3, "segmentation": [SQUARE]}])
    content = json.loads((tmp_path / "coco.json").read_text())
    (tmp_path / "coco.json").unlink()
    (tmp_path / "annotations").mkdir()
    for kind in ("instances", "person_keypoints", "captions"):
        (tmp_path / f"annotations/{kind}_val2017.json").write_text(json.dumps(content))
    result = built(tmp_path, ".")
    assert not result.problems and result.pictures == 1
    content["annotations"] = []
    (tmp_path / "none.json").write_text(json.dumps(content))
    shutil.rmtree(tmp_path / "new")
    with pytest.raises(UserError, match=r"none of 1 .*: pictures in which nothing is annotated: 1"):
        built(tmp_path, "none.json")


def test_yolo_beside_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "images/a.jpg")
    picture(tmp_path / "images/b.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0 0 1 0 1 1\n")
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings/data.yaml").write_text("train: ../images\nnames: {0: cat}\n")
    monkeypatch.chdir(tmp_path)
    result = built(Path(), "settings/data.yaml", {"background": "class"})
    assert result.pictures == 2 and mask(tmp_path).max() == 1


def test_yolo_as_other_tools_export_it(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        picture(tmp_path / part / "images/a.jpg")
        picture(tmp_path / part / "images/b.jpg")
        (tmp_path / part / "labels").mkdir()
    (tmp_path / "data.yaml").write_text(
        "path: /nowhere\ntrain: ../train/images\nval: ../valid/images\nnames: [cat, sky]\n"
    )
    shares = " ".join(str(n) for x, y in zip(SQUARE[::2], SQUARE[1::2], strict=True)
                      for n in (x / WIDTH, y / HEIGHT))  # fmt: skip
    (tmp_path / "train/labels/a.txt").write_text(f"1 {shares}\n0 0.5 0.5 0.1 0.1\n2 {shares}\n")
    (tmp_path / "valid/labels/a.txt").write_text(f"0 {shares}\n")
    result = built(tmp_path, "data.yaml")
    assert (mask(tmp_path, "train/images/a") == in_square(1)).all()
    assert dict(result.found.not_taken) == {
        "boxes": 1,
        "regions that make no sense": 1,
        "pictures in which nothing is annotated": 2,
    }
    assert FolderDataset(tmp_path / "new", "val").pairs[0].mask.name == "a.png"


def test_labelme(tmp_path: Path) -> None:
    picture(tmp_path / "day/a.jpg")
    stamp = BytesIO()
    Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).save(stamp, "PNG")
    corners = list(zip(SQUARE[::2], SQUARE[1::2], strict=True))
    shapes = [
        {"label": "cat", "points": corners, "shape_type": "polygon"},
        {"label": "sky", "points": [[0, 0], [6, 1]], "shape_type": "rectangle"},
        {
            "label": "sky",
            "points": [[4, 2], [5, 3]],
            "shape_type": "mask",
            "mask": base64.b64encode(stamp.getvalue()).decode(),
        },
        {"label": "__ignore__", "points": [[0, 3], [6, 3], [6, 4], [0, 4]]},
        {"label": "cat", "points": [[0, 0]], "shape_type": "point"},
    ]
    content = {
        "version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": "a.jpg",
        "imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH,
    }  # fmt: skip
    (tmp_path / "day/a.json").write_text(json.dumps(content))
    result = built(tmp_path, "day")
    expected = in_square(0)
    expected[0], expected[3] = 1, 255
    expected[2, 5] = 1
    assert (mask(tmp_path)[:3] == expected[:3]).all() and result.classes == ("cat", "sky")
    assert mask(tmp_path)[3].tolist() == [255] * 6
    assert dict(result.found.not_taken) == {"labelme's point shapes": 1}


def test_pictures_are_found_by_the_path_that_agrees_best(tmp_path: Path) -> None:
    composed = "\u00e9.jpg"
    coco(tmp_path, [{"category_id": 3, "segmentation": [SQUARE]}], file_name=f"b/{composed}")
    for folder in ("a", "b"):
        picture(tmp_path / "images" / folder / unicodedata.normalize("NFD", composed))
    result = built(tmp_path, "coco.json")
    assert not result.problems and len(list((tmp_path / "new/images").iterdir())) == 1
    content = json.loads((tmp_path / "coco.json").read_text())
    content["images"][0]["file_name"] = composed
    (tmp_path / "coco.json").write_text(json.dumps(content))
    (tmp_path / "new").rename(tmp_path / "old")
    with pytest.raises(UserError, match="may be any of"):
        built(tmp_path, "coco.json")


def test_what_is_no_annotation(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1, 2]")
    (tmp_path / "a.xml").write_text("<annotations>")
    (tmp_path / "a.yaml").write_text("train: images")
    (tmp_path / "empty").mkdir()
    for name, message in {
        "a.json": "is neither of COCO, nor labelme, nor Label Studio",
        "a.xml": "is no XML of CVAT",
        "a.yaml": "it has no `names`",
        "a.csv": "there is no .*--from takes COCO",
        "empty": "holds no annotations",
    }.items():
        with pytest.raises(UserError, match=message):
            read_annotations(tmp_path / name, Indices())
