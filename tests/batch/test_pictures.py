"""What tools make of the pictures and polygons that are written, and what is read back of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import VOCSegmentation

from cascade_clip.batch.formats import WRITERS
from cascade_clip.batch.labels import Labels
from cascade_clip.data.annotations.build import Wishes, build_folder
from cascade_clip.data.annotations.formats import Indices, read_annotations
from cascade_clip.data.folder import FolderDataset
from tests.batch.labelled import COUNT, labelled, masks


def test_simplified_polygons_have_fewer_corners(labels: Labels, tmp_path: Path) -> None:
    corners, agreement = [], []
    for number, allowed in enumerate((0.0, 1.0)):
        out = tmp_path / str(number)
        WRITERS["cvat"](replace(labels, simplify=allowed), out, "copy")
        corners.append((out / "annotations.xml").read_text().count(";"))
        found = read_annotations(out, Indices())
        build_folder(found, Wishes(out), out / "new", 1, lambda *_: None)
        read = [np.asarray(Image.open(out / f"new/masks/{name}.png")) for name in labels.names]
        agreement.append(np.mean([a == b for a, b in zip(read, masks(labels), strict=True)]))
    assert corners[1] < corners[0] / 2
    assert agreement[0] == 1.0 and 0.95 < agreement[1] < 1.0


def test_torchvision_opens_the_voc_layout(labels: Labels, tmp_path: Path) -> None:
    pictures = [Path(entry.source) for entry in labels.entries]
    for number, suffix in enumerate((".png", ".webp", ".jpeg", ".JPG")):
        image = Image.open(pictures[number])
        image.save(tmp_path / f"{number}{suffix}", quality=95)
    made = labelled(sorted(tmp_path.glob("*.*")), tmp_path / "labels")
    out = tmp_path / "VOCdevkit/VOC2012"
    for _ in range(2):
        WRITERS["voc"](made, out, "copy")
    opened = [
        sample
        for part in ("train", "val")
        for sample in VOCSegmentation(tmp_path, "2012", part, download=False)
    ]
    assert len(opened) == COUNT
    assert all(image.size == mask.size for image, mask in opened)
    files = list((out / "JPEGImages").iterdir())
    assert {(file.suffix, Image.open(file).format) for file in files} == {(".jpg", "JPEG")}


def test_turned_photographs_fit_their_masks_without_exif(
    pictures: list[Path], tmp_path: Path
) -> None:
    image = Image.open(pictures[0]).crop((0, 0, 64, 40))
    exif = image.getexif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    for name in ("turned.JPG", "turned too.png"):
        image.save(tmp_path / name, exif=exif)
    made = labelled(sorted(tmp_path.glob("turned*")), tmp_path / "labels")
    for upright, size in ((False, (64, 40)), (True, (40, 64)), (True, (40, 64)), (False, (64, 40))):
        for format in ("coco", "voc"):
            WRITERS[format](replace(made, upright=upright), tmp_path / format, "copy")
        stored = tmp_path / "coco/images/turned.JPG", tmp_path / "coco/images/turned too.png"
        assert [Image.open(file).size for file in stored] == [size] * 2
        mask = Image.open(tmp_path / "voc/SegmentationClass/turned.png")
        assert mask.size == (40, 64)
        assert (Image.open(tmp_path / "voc/JPEGImages/turned.jpg").size == mask.size) == upright


def test_pictures_keep_the_names_that_they_have(pictures: list[Path], tmp_path: Path) -> None:
    names = ["Lion.JPG", "park/Lion.JPG", "park/a&b #1 100%.jpg"]
    for name in names:
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(pictures[0], tmp_path / "photos" / name)
    made = labelled([tmp_path / "photos" / name for name in names], tmp_path / "labels")
    assert set(made.names) == {"Lion", "Lion-2", "a&b #1 100%"}
    for format in ("coco", "cvat", "labelstudio"):
        WRITERS[format](made, tmp_path / format, "copy")
        assert all((tmp_path / format / "images" / name).is_file() for name in names)
    content = json.loads((tmp_path / "coco/annotations/instances_default.json").read_text())
    assert {image["file_name"] for image in content["images"]} == {*names}
    root = Xml.parse(tmp_path / "cvat/annotations.xml").getroot()
    assert {image.attrib["name"] for image in root.findall("image")} == {*names}
    tasks = json.loads((tmp_path / "labelstudio/tasks.json").read_text())
    places = [parse_qs(urlsplit(task["data"]["image"]).query)["d"][0] for task in tasks]
    assert set(places) == {f"images/{name}" for name in names}
    WRITERS["coco"](made.without(["Lion-2"]), tmp_path / "coco", "copy")
    there = [(tmp_path / "coco/images" / name).is_file() for name in names]
    assert there == [True, False, True]


@pytest.mark.parametrize("format", ["coco", "cvat", "labelstudio", "yolo-seg", "voc"])
def test_what_is_written_is_read_back(labels: Labels, tmp_path: Path, format: str) -> None:
    WRITERS[format](labels, tmp_path / format, "copy")
    found = read_annotations(tmp_path / format, Indices())
    built = build_folder(found, Wishes(tmp_path / format), tmp_path / "new", 1, lambda *_: None)
    assert not built.problems and not built.found.not_taken and built.pictures == COUNT
    numbers = np.full(256, 255)
    for label, name in enumerate(built.classes):
        numbers[label] = labels.classes.index(name)
    for entry, mask in zip(labels.entries, masks(labels), strict=True):
        (file,) = (tmp_path / "new/masks").rglob(f"{entry.name}.png")
        assert (numbers[np.asarray(Image.open(file))] == mask).all()
    parts = [FolderDataset(tmp_path / "new", part).pairs for part in ("train", "val")]
    assert built.lists == (format in ("yolo-seg", "voc")) and sum(map(len, parts)) == COUNT


def test_copies_where_there_can_be_no_links(
    labels: Labels,
    tmp_path: Path,
    pictures: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(22, "A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    WRITERS["coco"](labels, tmp_path, "link")
    placed = sorted((tmp_path / "images").iterdir())
    assert [file.read_bytes() for file in placed] == [file.read_bytes() for file in pictures]
    assert f"{COUNT} pictures copied, " in " ".join(capsys.readouterr().err.split())
    built = build_folder(
        read_annotations(tmp_path, Indices()),
        Wishes(tmp_path, placement="link"), tmp_path / "new", 1, lambda *_: None,
    )  # fmt: skip
    assert built.copied == [file.stat().st_size for file in pictures]


def test_links_instead_of_copies(labels: Labels, tmp_path: Path, pictures: list[Path]) -> None:
    for placement, linked in (("link", True), ("copy", False), ("link", True)):
        WRITERS["coco"](labels, tmp_path, placement)
        placed = sorted((tmp_path / "images").iterdir())
        assert [file.is_symlink() for file in placed] == [linked] * COUNT
        assert [file.read_bytes() for file in placed] == [file.read_bytes() for file in pictures]
