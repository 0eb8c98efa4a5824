"""PASCAL VOC's layout: CVAT imports it ("Segmentation mask"), `data.name: folder` reads it."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from zlib import crc32

from cascade_clip.files import write_text, write_whole
from cascade_clip.labelling.formats.pictures import Placement, place_pictures, remove_left_out
from cascade_clip.labelling.records import Store

LISTS = "ImageSets/Segmentation"
HELD_OUT = 10
"""One picture in so many is for validation."""


def write(store: Store, out: Path, placement: Placement) -> None:
    """`JPEGImages/`, `SegmentationClass/` (palette PNGs: class indices, 255 for none),
    `ImageSets/Segmentation/{train,val}.txt`, `classes.txt` and `labelmap.txt`.

    One picture in ten is held out for validation, chosen by its name, so that more pictures change
    nothing for those that are there.
    """
    names = []
    place_pictures(store, out / "JPEGImages", placement)
    remove_left_out(store, out / "SegmentationClass")
    for record in store:
        mask = out / "SegmentationClass" / f"{record.name}.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        write_whole(mask, partial(shutil.copyfile, store.mask(record.name)))
        names.append(record.name)
    held_out = [name for name in names if crc32(name.encode()) % HELD_OUT == 0] or names[:1]
    apart = set(held_out)
    trained = [name for name in names if name not in apart] or names
    for split, listed in (("train", trained), ("val", held_out)):
        write_text(out / LISTS / f"{split}.txt", "".join(f"{name}\n" for name in listed))
    write_text(out / "classes.txt", "".join(f"{name}\n" for name in store.classes))
    colours = zip(store.classes, store.colours, strict=True)
    lines = [f"{name}:{','.join(map(str, colour))}::" for name, colour in colours]
    write_text(out / "labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", *lines, ""]))
