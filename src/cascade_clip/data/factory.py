"""Opens the data set that settings name."""

from __future__ import annotations

from cascade_clip.config import DataSettings
from cascade_clip.data.class_lists import STANDARD, ClassList
from cascade_clip.data.drawn import PicturebookDataset
from cascade_clip.data.folder import FolderDataset, find_layout, list_files
from cascade_clip.data.part import Part
from cascade_clip.data.prepared import PreparedDataset, calibration_list
from cascade_clip.data.samples import SegmentationDataset
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
    assert root is not None
    return FolderDataset(root, part, length, split=split, synonyms=synonyms, names=names)


def has_calibration(settings: DataSettings) -> bool:
    """Whether the data that `settings` name has pictures for choosing settings such as the
    seen-score offset, besides those that results are reported on.

    Opens no data set: files have a list of these pictures, or none.

    Raises `UserError` if a folder is no data set.
    """
    root = settings.root
    if settings.name == "picturebook" or root is None:
        return settings.name == "picturebook"
    if settings.name != "folder":
        return calibration_list(root, settings.name).is_file()
    return list_files(root, find_layout(root))["calibration"].is_file()
