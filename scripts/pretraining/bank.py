"""Drawn pictures with the words for what was drawn in them, kept in files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cascade_clip.io.files import write_whole
from cascade_clip.picturebook import CLASSES, SceneSettings, draw_scene
from cascade_clip.picturebook.contents import item_phrases
from cascade_clip.picturebook.palette import WORN
from cascade_clip.support.parallel import in_processes

PHRASES = (*CLASSES, *(f"{colour} {name}" for name, worn in WORN.items() for colour in worn))
"""Every name and every colour-name phrase of the picture book: ..., "wood", "red house", ..."""

SINGLE = SceneSettings(things=(1, 1), stuff=(1, 1))
"""One thing on one kind of stuff."""


@dataclass(frozen=True)
class BankSettings:
    """The first `scenes` scenes of book `seed`, and of the next book the first `singles` pictures
    of one thing on one kind of stuff; squares of `side` pixels."""

    scenes: int
    singles: int
    side: int
    seed: int


class Bank(NamedTuple):
    """`pictures` (N, side, side, 3) uint8, whole scenes first, and which of `PHRASES` tell of each:
    `told` (N, phrases) bool."""

    pictures: NDArray[np.uint8]
    told: NDArray[np.bool_]


def open_bank(folder: Path, settings: BankSettings, workers: int) -> Bank:
    """The bank below `folder`, memory-mapped; drawn by `workers` processes where missing."""
    name = f"{settings.scenes}-{settings.singles}-{settings.side}-{settings.seed}"
    pictures, told = (folder / f"{kind}-{name}.npy" for kind in ("pictures", "told"))
    if not (pictures.exists() and told.exists()):
        words = np.zeros((settings.scenes + settings.singles, len(PHRASES)), dtype=bool)
        write_whole(pictures, partial(_draw, settings, words, max(1, workers)))
        write_whole(told, partial(_save, words))
    return Bank(np.load(pictures, mmap_mode="r"), np.load(told, mmap_mode="r"))


def _draw(settings: BankSettings, words: NDArray[np.bool_], workers: int, path: Path) -> None:
    """Writes the pictures to `path` and fills `words` with what tells of them."""
    shape = (len(words), settings.side, settings.side, 3)
    pictures = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    for index, image, told in _drawn(settings, workers):
        pictures[index], words[index] = image, told
    pictures.flush()


def _drawn(
    settings: BankSettings, workers: int
) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.bool_]]]:
    count = settings.scenes + settings.singles
    return in_processes(partial(draw_picture, settings), range(count), workers)


def draw_picture(
    settings: BankSettings, index: int
) -> tuple[int, NDArray[np.uint8], NDArray[np.bool_]]:
    """Picture `index` of a bank (side, side, 3), and which of `PHRASES` tell of it (phrases,)."""
    if index < settings.scenes:
        scene = draw_scene(settings.seed, index, settings.side)
    else:
        scene = draw_scene(settings.seed + 1, index - settings.scenes, settings.side, SINGLE)
    said = item_phrases(scene.items)
    return index, scene.image, np.array([phrase in said for phrase in PHRASES])


def _save(words: NDArray[np.bool_], path: Path) -> None:
    np.save(path, words)
