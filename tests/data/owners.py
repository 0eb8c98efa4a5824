"""Archives as the owners of the benchmarks publish them, in small."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from cascade_clip.io.coco import encode_mask

Files = dict[str, bytes]
Labels = NDArray[np.integer]

SIZE = (12, 16)
"""(height, width) of all pictures."""
VOC_TRAIN, VOC_VAL = ("2007_000032", "2007_000039"), ("2007_000033",)
SBD_TRAIN, SBD_VAL = ("2008_000002", "2007_000032"), ("2008_000007", "2007_000033")
"""Each of SBD's lists shares a picture with one of VOC's."""
CONTEXT_TRAIN, CONTEXT_VAL = ("2008_000002", "2008_003252"), ("2008_000003",)
COCO_TRAIN, COCO_VAL = ("000000000009", "000000000025"), ("000000000139",)
CITY_TRAIN = ("train/aachen/aachen_000000_000019", "train/zurich/zurich_000121_000019")
CITY_VAL = ("val/frankfurt/frankfurt_000000_000294",)
ADE847 = ("training/urban/street/ADE_train_00000002", "validation/home/attic/ADE_val_00000003")
ADE_TRAIN, ADE_VAL = ("training/ADE_train_00000001",), ("validation/ADE_val_00000001",)


def values(name: str, allowed: Sequence[int]) -> Labels:
    """Blocks of 4 x 4 pixels with values drawn from the picture's name."""
    generator = np.random.default_rng(list(name.encode()))
    blocks = generator.choice(allowed, (SIZE[0] // 4, SIZE[1] // 4))
    return blocks.repeat(4, 0).repeat(4, 1)


def voc_values(name: str) -> Labels:
    """VOC's own masks: background, 20 classes, void."""
    return values(name, [*range(21), 255]).astype(np.uint8)


def sbd_values(name: str) -> Labels:
    """SBD's masks: background and 20 classes."""
    return values(f"sbd {name}", range(21)).astype(np.uint8)


def context_values(name: str) -> Labels:
    """Context's 459 labels; the second row of blocks holds some of the 59."""
    labels = values(name, range(1, 460)).astype(np.uint16)
    labels[4:8] = values(name, [2, 9, 284, 415, 458])[4:8]
    return labels


def coco_values(name: str) -> Labels:
    """COCO-Stuff's maps, with ids that no class has (11) and pixels without label (255)."""
    return values(name, [0, 10, 11, 12, 90, 91, 181, 255]).astype(np.uint8)


def cityscapes_values(name: str) -> Labels:
    """Cityscapes' label ids: 0 to 33, and 255 for licence plates."""
    return values(name, [0, 6, 7, 8, 9, 17, 24, 28, 31, 33, 255]).astype(np.uint8)


def ade20k_values(name: str) -> Labels:
    """The challenge's maps: 0 for other objects, classes from 1 on."""
    return values(name, [0, 1, 2, 13, 150]).astype(np.uint8)


def ade847_values(name: str) -> Labels:
    """Numbers of objects in the full ADE20K: none, wall, building, adding machine, one that is no
    class."""
    return values(name, [0, 2978, 312, 3148, 3001]).astype(np.uint16)


def voc(root: Path) -> Path:
    """`VOCtrainval_11-May-2012.tar`, with files that segmentation doesn't need."""
    top = "VOCdevkit/VOC2012"
    lists = {"train": VOC_TRAIN, "val": VOC_VAL, "trainval": (*VOC_TRAIN, *VOC_VAL)}
    files = _lists(f"{top}/ImageSets/Segmentation", lists)
    for name in dict.fromkeys((*lists["trainval"], *SBD_TRAIN, *SBD_VAL)):
        files[f"{top}/JPEGImages/{name}.jpg"] = jpeg(name)
        files[f"{top}/Annotations/{name}.xml"] = b"<annotation/>"
    for name in lists["trainval"]:
        files[f"{top}/SegmentationClass/{name}.png"] = palette_png(voc_values(name))
    return write_tar(root / "VOCtrainval_11-May-2012.tar", files)


def sbd(root: Path) -> Path:
    """`benchmark.tgz`, with pictures and instance masks that aren't needed."""
    top = "benchmark_RELEASE/dataset"
    files = _lists(top, {"train": SBD_TRAIN, "val": SBD_VAL})
    for name in (*SBD_TRAIN, *SBD_VAL):
        files[f"{top}/img/{name}.jpg"] = jpeg(name)
        files[f"{top}/cls/{name}.mat"] = sbd_mat(sbd_values(name))
    return write_tar(root / "benchmark.tgz", files)


def voc2010(root: Path) -> Path:
    """`VOCtrainval_03-May-2010.tar`."""
    top = "VOCdevkit/VOC2010"
    files = _lists(f"{top}/ImageSets/Main", {"train": CONTEXT_TRAIN, "val": CONTEXT_VAL})
    for name in (*CONTEXT_TRAIN, *CONTEXT_VAL):
        files[f"{top}/JPEGImages/{name}.jpg"] = jpeg(name)
    return write_tar(root / "VOCtrainval_03-May-2010.tar", files)


def context_mats(root: Path, labels: Mapping[int, str]) -> Path:
    """`trainval.tar.gz` with `labels.txt` of these names."""
    lines = (f"{number}: {name}\n" for number, name in labels.items())
    files = {"labels.txt": "".join(lines).encode()}
    for name in (*CONTEXT_TRAIN, *CONTEXT_VAL):
        files[f"trainval/{name}.mat"] = mat({"LabelMap": context_values(name)})
    return write_tar(root / "trainval.tar.gz", files)


def context_merged(root: Path, segments: Mapping[str, Sequence[tuple[int, Labels]]]) -> Path:
    """`trainval_merged.json` with these segments (category, mask) of each picture."""
    images, records = [], []
    for name in segments:
        number, phase = int(name.replace("_", "")), "val" if name in CONTEXT_VAL else "train"
        images.append(
            {
                "image_id": number,
                "file_name": f"{name}.jpg",
                "phase": phase,
                "height": SIZE[0],
                "width": SIZE[1],
                "date_captured": "31-Oct-2007",
            }
        )
        for category, mask in segments[name]:
            records.append(
                {
                    "id": len(records) + 1,
                    "image_id": number,
                    "category_id": category,
                    "segmentation": encode_mask(mask.astype(bool)),
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "parts": [],
                }
            )
    content = {"images": images, "annos_segmentation": records, "categories": [], "parts": []}
    path = root / "trainval_merged.json"
    path.write_text(json.dumps(content))
    return path


def coco(root: Path) -> list[Path]:
    """`train2017.zip`, `val2017.zip` and `stuffthingmaps_trainval2017.zip`."""
    parts = {"train2017": COCO_TRAIN, "val2017": COCO_VAL}
    maps: Files = {}
    paths = []
    for folder, names in parts.items():
        pictures = {f"{folder}/{name}.jpg": jpeg(name) for name in names}
        paths.append(write_zip(root / f"{folder}.zip", pictures))
        maps |= {f"{folder}/{name}.png": grey_png(coco_values(name)) for name in names}
    return [*paths, write_zip(root / "stuffthingmaps_trainval2017.zip", maps)]


def cityscapes(root: Path) -> list[Path]:
    """`leftImg8bit_trainvaltest.zip` and `gtFine_trainvaltest.zip`, with `test` and other maps."""
    pictures: Files = {}
    maps: Files = {}
    for scene in (*CITY_TRAIN, *CITY_VAL, "test/berlin/berlin_000000_000019"):
        ids = grey_png(cityscapes_values(scene))
        pictures[f"leftImg8bit/{scene}_leftImg8bit.png"] = _encoded(_picture(scene), "PNG")
        maps[f"gtFine/{scene}_gtFine_labelIds.png"] = ids
        maps[f"gtFine/{scene}_gtFine_instanceIds.png"] = ids
        maps[f"gtFine/{scene}_gtFine_polygons.json"] = b"{}"
    return [
        write_zip(root / "leftImg8bit_trainvaltest.zip", pictures),
        write_zip(root / "gtFine_trainvaltest.zip", maps),
    ]


def ade20k(root: Path) -> Path:
    """`ADEChallengeData2016.zip`."""
    top = "ADEChallengeData2016"
    files = {f"{top}/objectInfo150.txt": b"Idx\n", f"{top}/sceneCategories.txt": b"scene\n"}
    for name in (*ADE_TRAIN, *ADE_VAL):
        files[f"{top}/images/{name}.jpg"] = jpeg(name)
        files[f"{top}/annotations/{name}.png"] = grey_png(ade20k_values(name))
    return write_zip(root / "ADEChallengeData2016.zip", files)


def ade847(root: Path) -> Path:
    """`ADE20K_2021_17_01.zip`: by kind of scene, maps in colours, with parts and attributes."""
    top = "ADE20K_2021_17_01"
    files = {f"{top}/index_ade20k.pkl": b"", f"{top}/index_ade20k.mat": b""}
    for name in ADE847:
        start, numbers = f"{top}/images/ADE/{name}", ade847_values(name)
        instances = np.arange(numbers.size).reshape(numbers.shape) % 256
        colours = np.stack([numbers // 256 * 10, numbers % 256, instances], 2).astype(np.uint8)
        files[f"{start}.jpg"] = jpeg(name)
        files[f"{start}.json"] = b"{}"
        files[f"{start}_seg.png"] = _encoded(Image.fromarray(colours), "PNG")
        files[f"{start}_parts_1.png"] = _encoded(Image.fromarray(colours), "PNG")
    return write_zip(root / "ADE20K_2021_17_01.zip", files)


def jpeg(name: str, size: tuple[int, int] = SIZE) -> bytes:
    """A picture whose colour is drawn from its name."""
    return _encoded(_picture(name, size), "JPEG")


def palette_png(labels: Labels) -> bytes:
    """Indices with colours, as VOC's masks are stored."""
    image = Image.fromarray(labels.astype(np.uint8), mode="P")
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    return _encoded(image, "PNG")


def grey_png(labels: Labels) -> bytes:
    """Indices as grey values, as COCO-Stuff's maps are stored."""
    return _encoded(Image.fromarray(labels.astype(np.uint8)), "PNG")


def sbd_mat(labels: Labels) -> bytes:
    """The structure `GTcls` with boundaries of each class beside the segmentation."""
    boundaries = np.empty((20, 1), object)
    boundaries[:, 0] = [np.zeros(SIZE, np.uint8)] * 20
    present = np.unique(labels[labels > 0]).reshape(-1, 1)
    fields = {"Boundaries": boundaries, "Segmentation": labels, "CategoriesPresent": present}
    return mat({"GTcls": fields})


def mat(content: dict[str, object]) -> bytes:
    """A MATLAB 5 file, compressed."""
    stream = io.BytesIO()
    savemat(stream, content, do_compression=True)
    return stream.getvalue()


def write_tar(path: Path, files: Files) -> Path:
    """A tar, compressed if its name says so, with entries for folders."""
    with tarfile.open(path, "w:gz" if path.suffix in {".tgz", ".gz"} else "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def write_zip(path: Path, files: Files) -> Path:
    """A zip with an entry for its top folder."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir(next(iter(files)).partition("/")[0])
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def _lists(folder: str, lists: Mapping[str, Sequence[str]]) -> Files:
    return {
        f"{folder}/{part}.txt": "".join(f"{name}\n" for name in names).encode()
        for part, names in lists.items()
    }


def _picture(name: str, size: tuple[int, int] = SIZE) -> Image.Image:
    colour = np.random.default_rng(list(name.encode())).integers(0, 256, 3, np.uint8)
    return Image.fromarray(np.broadcast_to(colour, (*size, 3)).copy())


def _encoded(image: Image.Image, form: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()
