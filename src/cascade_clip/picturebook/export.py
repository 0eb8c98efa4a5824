"""Scenes as a folder in the layout of PASCAL VOC."""

import shutil
import tempfile
from pathlib import Path

from PIL import Image

from cascade_clip.errors import UserError
from cascade_clip.picturebook.contents import CLASSES
from cascade_clip.picturebook.scene import MIN_SIDE, draw_scene

MAX_COUNT = 1_000_000


def export_voc(root: Path, count: int, seed: int, size: int) -> None:
    """Writes scenes 0 to ``count`` - 1 of book ``seed`` under ``root``.

    ``JPEGImages/NNNNNN.jpg``, ``SegmentationClass/NNNNNN.png`` (indexed; label = position in
    ``CLASSES``), ``ImageSets/Segmentation/{train,val}.txt`` (every fifth scene is for
    validation), ``classes.txt`` (one name a line) and ``captions.txt`` (stem, tab, caption).
    The folder appears under its name only when it is complete.

    Args:
        root: Folder to make; it may exist if it is empty.
        count: Number of scenes, 2 to 1,000,000.
        seed: Number of the book.
        size: Side of the pictures in pixels, at least 16.

    Raises:
        UserError: If an argument lies outside its range or ``root`` is not an empty folder.
    """
    if not 2 <= count <= MAX_COUNT:
        raise UserError(f"count is {count}; ask for 2 to {MAX_COUNT} scenes.")
    if size < MIN_SIDE:
        raise UserError(f"size is {size}; a picture needs at least {MIN_SIDE} pixels a side.")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UserError(f"{root} exists and is not an empty folder; name a new one or empty it.")
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{root.name}-", dir=root.parent) as scratch:
        draft = Path(scratch) / "book"
        _write_book(draft, count, seed, size)
        if root.exists():
            root.rmdir()
        shutil.move(draft, root)


def voc_palette() -> list[int]:
    """Colour map of PASCAL VOC: 256 x (red, green, blue), the bits of the label spread out."""
    palette: list[int] = []
    for label in range(256):
        for channel in range(3):
            bits = [(label >> (3 * place + channel)) & 1 for place in range(3)]
            palette.append(sum(bit << (7 - place) for place, bit in enumerate(bits)))
    return palette


def _write_book(root: Path, count: int, seed: int, size: int) -> None:
    pictures, masks = root / "JPEGImages", root / "SegmentationClass"
    lists = root / "ImageSets" / "Segmentation"
    for folder in (pictures, masks, lists):
        folder.mkdir(parents=True)
    palette = voc_palette()
    stems = [f"{index:06d}" for index in range(count)]
    captions = []
    for index, stem in enumerate(stems):
        scene = draw_scene(seed, index, size)
        Image.fromarray(scene.image).save(pictures / f"{stem}.jpg", quality=95)
        mask = Image.fromarray(scene.mask)
        mask.putpalette(palette)
        mask.save(masks / f"{stem}.png")
        captions.append(f"{stem}\t{scene.caption}")
    # A book of fewer than five scenes keeps its last one for validation.
    held_out = {index for index in range(count) if index % 5 == 4} or {count - 1}
    _write_lines(lists / "train.txt", [s for i, s in enumerate(stems) if i not in held_out])
    _write_lines(lists / "val.txt", [s for i, s in enumerate(stems) if i in held_out])
    _write_lines(root / "classes.txt", CLASSES)
    _write_lines(root / "captions.txt", captions)


def _write_lines(path: Path, lines: list[str] | tuple[str, ...]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
