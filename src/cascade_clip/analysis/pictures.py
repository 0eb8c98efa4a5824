"""Pictures without masks, for analyses that need none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from cascade_clip.config import DataSettings
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.factory import open_dataset
from cascade_clip.data.folder import PLAIN, VOC
from cascade_clip.data.labels import IGNORE
from cascade_clip.data.part import Part
from cascade_clip.data.samples import Sample, SegmentationDataset
from cascade_clip.io.find import find_pictures
from cascade_clip.io.images import read_picture


class Pictures:
    """Picture files as a data set without a single labelled pixel."""

    classes = ClassSet(("picture",))

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = tuple(files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        image = torch.from_numpy(read_picture(self.files[index])).permute(2, 0, 1).contiguous()
        return Sample(image, torch.full(image.shape[1:], IGNORE), self.files[index].stem)


def open_pictures(
    settings: DataSettings, part: Part, length: int | None, out: Path
) -> SegmentationDataset:
    """The data that `settings` name, or all pictures in a folder that has no masks; pictures in
    `out`, the folder of results, are left out.

    Raises `UserError` if there are none.
    """
    root = settings.root
    layouts = (PLAIN, VOC)
    if settings.name != "folder" or root is None:
        return open_dataset(settings, part, length)
    if any((root / layout.masks).is_dir() for layout in layouts):
        return open_dataset(settings, part, length)
    return Pictures(find_pictures([str(root)], out)[:length])
