"""PASCAL VOC's layout: CVAT imports it ("Segmentation mask"), `data.name: folder` reads it."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from cascade_clip.batch.formats.pictures import Placement, place_pictures, remove_left_out
from cascade_clip.batch.labels import Labels
from cascade_clip.data.folder import split_by_name
from cascade_clip.io.files import write_text, write_whole
from cascade_clip.io.palette import BACKGROUND

LISTS = "ImageSets/Segmentation"


def write(labels: Labels, out: Path, placement: Placement) -> None:
    """`JPEGImages/` (JPEG alone, as VOC's readers expect), `SegmentationClass/` (palette PNGs:
    class indices, 255 for none), `ImageSets/Segmentation/{train,val}.txt`, `classes.txt` and
    `labelmap.txt`, which calls the colour of none `background` (`ignore`, if a class is called so):
    CVAT refuses masks with colours that it doesn't list.

    `val.txt` lists what `split_by_name` holds out.
    """
    place_pictures(labels, out / "JPEGImages", placement, jpeg=True)
    remove_left_out(labels, out / "SegmentationClass")
    for name in labels.names:
        mask = out / "SegmentationClass" / f"{name}.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        write_whole(mask, partial(shutil.copyfile, labels.mask(name)))
    trained, held_out = split_by_name(labels.names)
    for part, listed in (("train", trained), ("val", held_out)):
        write_text(out / LISTS / f"{part}.txt", "".join(f"{name}\n" for name in listed))
    write_text(out / "classes.txt", "".join(f"{name}\n" for name in labels.classes))
    none = "ignore" if "background" in labels.classes else "background"
    colours = zip((*labels.classes, none), (*labels.colours, BACKGROUND), strict=True)
    lines = [f"{name}:{','.join(map(str, colour))}::" for name, colour in colours]
    write_text(out / "labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", *lines, ""]))
