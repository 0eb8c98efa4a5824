"""Opens the data set that settings name."""

from __future__ import annotations

from cascade_clip.config import DataSettings
from cascade_clip.data.class_lists import STANDARD, ClassList
from cascade_clip.data.drawn import PicturebookDataset
from cascade_clip.data.folder import FolderDataset
from cascade_clip.data.part import Part
from cascade_clip.data.prepared import PreparedDataset
from cascade_clip.data.samples import SegmentationDataset
from cascade_clip.errors import UserError
from cascade_clip.picturebook import CLASSES, UNSEEN


def open_dataset(
    settings: DataSettings, part: Part, length: int | None = None
) -> SegmentationDataset:
    """One part of the data set that `settings` name, at most `length` pictures of it.

    Raises `UserError` if files are missing or make no sense.
    """
    if settings.name == "picturebook":
        drawn = ClassList(CLASSES, {STANDARD: UNSEEN})
        drawn.class_set(settings.split, settings.synonyms, settings.names)
        return PicturebookDataset(
            settings.picturebook, part, length or settings.picturebook.eval_scenes
        )
    root, names = settings.root, settings.names
    split, synonyms = settings.split, settings.synonyms
    if settings.name != "folder":
        return PreparedDataset(
            root, settings.name, part, length, split=split, synonyms=synonyms, names=names
        )
    if root is None:
        raise UserError("pictures of your own need their folder: data.root=DIR")
    return FolderDataset(
        root,
        part,
        length,
        split=split,
        synonyms=synonyms,
        names=names,
        background=settings.background,
    )
