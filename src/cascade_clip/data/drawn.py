"""The drawn world as a data set."""

from __future__ import annotations

import torch

from cascade_clip.config import PicturebookSettings
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.part import Part
from cascade_clip.data.samples import Sample
from cascade_clip.picturebook import CLASSES, UNSEEN, SceneSettings, draw_scene

SEED_OFFSET: dict[Part, int] = {"train": 0, "val": 10_000, "test": 20_000, "calibration": 30_000}
"""Scenes of part x are drawn from book `seed + SEED_OFFSET[x]`, with seed < 10,000: no part ever
shows a scene of another. Settings such as the seen-score offset are chosen on `calibration`, which
data sets of files have only with a list of that name; their `test` is their `val`."""


class PicturebookDataset:
    """`length` scenes of one part of the picture book, drawn when asked for.

    Any index below 10**18 can be drawn; `length` only says where iteration ends.
    """

    def __init__(self, settings: PicturebookSettings, part: Part, length: int) -> None:
        self.settings = settings
        self.part = part
        self.length = length
        self.seed = settings.seed + SEED_OFFSET[part]
        self.scenes = SceneSettings(
            things=settings.things,
            thing_size=settings.thing_size,
            stuff=settings.stuff,
            max_overlap=settings.max_overlap,
        )

    @property
    def classes(self) -> ClassSet:
        return ClassSet(CLASSES, UNSEEN)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        scene = draw_scene(self.seed, index, self.settings.size, self.scenes)
        return Sample(
            image=torch.from_numpy(scene.image).permute(2, 0, 1).contiguous(),
            labels=torch.from_numpy(scene.mask).long(),
            name=f"{self.part}-{index:06d}",
        )
