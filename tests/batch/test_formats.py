"""Each format is read back as its tools read it, and compared with the masks."""

from __future__ import annotations

import json
import os
import shutil
from itertools import chain
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
import yaml
from PIL import Image
from torchvision.datasets import VOCSegmentation

from cascade_clip.batch.formats import WRITERS
from cascade_clip.batch.journal import Journal
from cascade_clip.batch.labels import Labels, labels_of
from cascade_clip.batch.review import write_review
from cascade_clip.data.folder import FolderDataset
from cascade_clip.io.coco import decode_mask
from tests.batch.labelled import COUNT, labelled, masks
from tests.batch.readers.painting import painted


def test_voc_is_a_data_set_that_training_reads(labels: Labels, tmp_path: Path) -> None:
    WRITERS["voc"](labels, tmp_path, "copy")
    found = {}
    for split in ("train", "val"):
        dataset = FolderDataset(tmp_path, split)
        assert dataset.classes.names == ("cat", "house", "grass", "sky")
        samples = [dataset[index] for index in range(len(dataset))]
        found[split] = {sample.name: sample.labels.numpy() for sample in samples}
        assert found[split]
    assert not found["train"].keys() & found["val"].keys()
    for entry, mask in zip(labels.entries, masks(labels), strict=True):
        assert ((found["train"] | found["val"])[entry.name] == mask).all()


def test_the_label_map_of_voc_lists_every_colour(labels: Labels, tmp_path: Path) -> None:
    WRITERS["voc"](labels, tmp_path, "copy")
    lines = (tmp_path / "labelmap.txt").read_text(encoding="utf-8").splitlines()[1:]
    names = {tuple(map(int, line.split(":")[1].split(","))): line.split(":")[0] for line in lines}
    called = (*labels.classes, *[""] * 251, "background")
    met = set()
    for entry, mask in zip(labels.entries, masks(labels), strict=True):
        with Image.open(tmp_path / "SegmentationClass" / f"{entry.name}.png") as image:
            colours = np.asarray(image.convert("RGB"))
        for number in np.unique(mask):
            (colour,) = np.unique(colours[mask == number], axis=0)
            assert names[tuple(map(int, colour))] == called[number]
            met.add(int(number))
    assert {1, 255} <= met


def test_coco_masks_are_exact(labels: Labels, tmp_path: Path) -> None:
    WRITERS["coco"](labels, tmp_path, "copy")
    path = tmp_path / "annotations/instances_default.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert [c["name"] for c in content["categories"]] == ["cat", "house", "grass", "sky"]
    for image, mask in zip(content["images"], masks(labels), strict=True):
        assert (tmp_path / "images" / image["file_name"]).is_file()
        found = np.full(mask.shape, 255)
        for annotation in content["annotations"]:
            if annotation["image_id"] == image["id"]:
                found[decode_mask(annotation["segmentation"])] = annotation["category_id"] - 1
                assert 0 <= annotation["score"] <= 1
        assert (found == mask).all()


def test_yolo_polygons_cover_the_masks(labels: Labels, tmp_path: Path) -> None:
    WRITERS["yolo-seg"](labels, tmp_path, "copy")
    data = yaml.safe_load((tmp_path / "data.yaml").read_text(encoding="utf-8"))
    assert data["names"][1] == "house"
    assert "path" not in data  # trainers would resolve it against the working directory
    files: dict[str, Path] = {}
    for part in (data["train"], data["val"]):
        listed = sorted((tmp_path / part.replace("images", "labels")).iterdir())
        assert [p.stem for p in listed] == sorted(p.stem for p in (tmp_path / part).iterdir())
        assert listed and not files.keys() & {path.stem for path in listed}
        files |= {path.stem: path for path in listed}
    for entry, mask in zip(labels.entries, masks(labels), strict=True):
        polygons = []
        lines = files.pop(entry.name).read_text().splitlines()
        for line in lines:
            label, *shares = line.split()
            x, y = np.array(shares[::2], float) * 64, np.array(shares[1::2], float) * 64
            polygons.append((int(label), list(zip(x, y, strict=True))))
        assert (painted(polygons, mask.shape) == mask).all()
    assert not files


def test_cvat_polygons_cover_the_masks(labels: Labels, tmp_path: Path) -> None:
    WRITERS["cvat"](labels, tmp_path, "copy")
    root = Xml.parse(tmp_path / "annotations.xml").getroot()
    names = [name.text for name in root.findall("meta/task/labels/label/name")]
    assert names == ["cat", "house", "grass", "sky"]
    images = root.findall("image")
    for image, mask in zip(images, masks(labels), strict=True):
        assert (tmp_path / "images" / image.attrib["name"]).is_file()
        polygons = []
        for polygon in image.findall("polygon"):
            corners = [tuple(map(float, p.split(","))) for p in polygon.attrib["points"].split(";")]
            polygons.append((names.index(polygon.attrib["label"]), corners))
            assert 0 <= float(polygon.findtext("attribute") or -1) <= 1
        assert (painted(polygons, mask.shape) == mask).all()


def test_labelstudio_tasks_match_its_interface(labels: Labels, tmp_path: Path) -> None:
    WRITERS["labelstudio"](labels, tmp_path, "copy")
    tasks = json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8"))
    view = Xml.parse(tmp_path / "config.xml").getroot()
    interface = view.find("PolygonLabels")
    assert interface is not None
    names = [label.attrib["value"] for label in interface]
    for task, mask in zip(tasks, masks(labels), strict=True):
        place = parse_qs(urlsplit(task["data"]["image"]).query)["d"][0]
        assert (tmp_path / place).is_file()
        polygons = []
        for result in task["predictions"][0]["result"]:
            assert (result["from_name"], result["to_name"]) == (
                interface.attrib["name"],
                interface.attrib["toName"],
            )
            corners = [(x * 0.64, y * 0.64) for x, y in result["value"]["points"]]
            polygons.append((names.index(result["value"]["polygonlabels"][0]), corners))
        assert (painted(polygons, mask.shape) == mask).all()


def test_torchvision_reads_voc(labels: Labels, tmp_path: Path) -> None:
    WRITERS["voc"](labels, tmp_path / "VOCdevkit" / "VOC2012", "copy")
    parts = [VOCSegmentation(tmp_path, image_set=part) for part in ("train", "val")]
    read = {Path(p).stem: pair for part in parts for p, pair in zip(part.masks, part, strict=True)}
    assert len(read) == COUNT
    for entry, mask in zip(labels.entries, masks(labels), strict=True):
        picture, found = read[entry.name]
        assert picture.size == found.size
        np.testing.assert_array_equal(np.asarray(found), mask)


def test_pycocotools_reads_coco(labels: Labels, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    WRITERS["coco"](labels, tmp_path, "copy")
    read = coco.COCO(str(tmp_path / "annotations" / "instances_default.json"))
    for number, mask in zip(sorted(read.imgs), masks(labels), strict=True):
        found = np.full(mask.shape, 255)
        for one in read.loadAnns(read.getAnnIds(number)):
            found[read.annToMask(one) == 1] = one["category_id"] - 1
            assert one["area"] == read.annToMask(one).sum()
        np.testing.assert_array_equal(found, mask)


@pytest.mark.parametrize(("format", "least"), [("coco", 1.0), ("yolo-seg", 0.85)])
def test_supervision_reads_it(labels: Labels, tmp_path: Path, format: str, least: float) -> None:
    """A reader that this project didn't write; of polygons it cuts off fractions of a pixel."""
    supervision = pytest.importorskip("supervision")
    WRITERS[format](labels, tmp_path, "copy")
    if format == "coco":
        parts = [("images", "annotations/instances_default.json")]
        load = supervision.DetectionDataset.from_coco
    else:
        parts = [(f"images/{part}", f"labels/{part}", "data.yaml") for part in ("train", "val")]
        load = supervision.DetectionDataset.from_yolo
    datasets = [load(*(str(tmp_path / p) for p in places), force_masks=True) for places in parts]
    assert all(dataset.classes == list(labels.classes) for dataset in datasets)
    assert sum(map(len, datasets)) == COUNT
    for path, _, found in chain(*datasets):
        expected = np.asarray(Image.open(labels.mask(Path(path).stem)))
        read = np.full(expected.shape, 255)
        pieces = [] if found.mask is None else zip(found.mask, found.class_id, strict=True)
        for mask, label in sorted(pieces, key=lambda piece: -piece[0].sum()):
            read[mask] = label
        assert (read == expected).mean() >= least


def test_tables_hold_a_row_per_picture(labels: Labels, tmp_path: Path) -> None:
    WRITERS["jsonl"](labels, tmp_path, "copy")
    lines = (tmp_path / "labels.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["name"] for line in lines] == [entry.name for entry in labels.entries]
    parquet = pytest.importorskip("pyarrow.parquet")
    WRITERS["parquet"](labels, tmp_path, "copy")
    rows = parquet.read_table(tmp_path / "labels.parquet").to_pylist()
    for row, mask in zip(rows, masks(labels), strict=True):
        assert row["pixels"] == [int((mask == index).sum()) for index in range(4)]


def test_the_review_sheet_names_a_mask_that_cannot_be_read(labels: Labels, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    journal = labels.journal
    shutil.copytree(journal.folder / "masks", masks)
    shutil.copyfile(journal.path, tmp_path / journal.path.name)
    broken = labels.names[0]
    (masks / f"{broken}.png").write_bytes(b"no picture")
    there = labels_of(Journal(tmp_path / journal.path.name, journal.settings))
    text = write_review(there, tmp_path / "review.html", COUNT).read_text()
    assert f"{broken}.png is not a picture" in text and text.count("<img") == COUNT - 1


def test_file_names_that_are_no_plain_text(pictures: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    odd = [b"caf\xe9.jpg", b"a\x1b[31mb.jpg", "line\u2028break.jpg".encode()]
    files = [Path(shutil.copy(pictures[0], folder / os.fsdecode(name))) for name in odd]
    made = labelled(files, tmp_path / "out")
    assert set(made.names) == {"caf_", "a_[31mb", "line_break"}
    assert labels_of(Journal(made.journal.path, made.journal.settings)).entries == made.entries
    for name, write in WRITERS.items():
        write(made, tmp_path / name, "copy")
    rows = (tmp_path / "jsonl/labels.jsonl").read_text(encoding="utf-8").strip().split("\n")
    assert {os.fsencode(Path(json.loads(row)["picture"]).name) for row in rows} == set(odd)
    sheet = write_review(made, tmp_path / "review.html", 3).read_text(encoding="utf-8")
    assert all(f"{name} · " in sheet for name in made.names) and "\x1b" not in sheet


def test_the_review_sheet_starts_with_the_least_certain(labels: Labels, tmp_path: Path) -> None:
    text = write_review(labels, tmp_path / "review.html", count=2).read_text(encoding="utf-8")
    ordered = sorted(labels.entries, key=lambda entry: entry.confidence)
    places = [text.find(f"{entry.name} · ") for entry in ordered]
    assert 0 < places[0] < places[1] and places[2:] == [-1] * (COUNT - 2)
    assert "http" not in text.replace("http-equiv", "")
