"""Pictures that were corrected by hand: their masks are taken as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np
import numpy.typing as npt

from cascade_clip.batch.items import Failure, Item
from cascade_clip.batch.names import source_of
from cascade_clip.batch.pipeline import Outcome, write_results
from cascade_clip.batch.task import Task
from cascade_clip.class_names import class_index
from cascade_clip.data.folder import find_layout, list_pictures, mask_of, read_folder_classes
from cascade_clip.data.pairs import read_mask
from cascade_clip.data.prepare.masks import upright_size
from cascade_clip.errors import UserError
from cascade_clip.inference.query import BACKGROUND_LABEL
from cascade_clip.io.palette import class_colours
from cascade_clip.segmentation import Segmentation, make_legend


@dataclass(frozen=True)
class Corrections:
    """The masks of a data set that was corrected, for pictures that are to be labelled."""

    masks: Mapping[str, Path]
    """By source of the picture."""
    table: npt.NDArray[np.int16]
    """(256,): the index of the class for each label of the masks; -1 for no class."""


def find_corrections(
    root: Path, files: Sequence[Path], groups: Sequence[tuple[str, ...]]
) -> Corrections:
    """Which of the files a data set folder has, by the end of their paths apart from the ending;
    `groups` are the names of the classes that are asked for.

    Raises `UserError` for a folder that is no data set, one with other classes, and if a picture of
    it may be several of the files.
    """
    layout = find_layout(root)
    table = np.full(256, BACKGROUND_LABEL, np.int16)
    for label, name in enumerate(read_folder_classes(root).names):
        try:
            table[label] = class_index(groups, name)
        except UserError as error:
            raise UserError(f"{root} has other classes than those asked for: {error}") from error
    corrected = {
        name.casefold(): mask_of(root, layout, name)
        for name, _ in list_pictures(root / layout.pictures)
    }
    found: dict[str, Path] = {}
    for file in files:
        known = next((end for end in _ends(source_of(file)) if end in corrected), None)
        if known is None:
            continue
        if known in found:
            raise UserError(f"{known} of {root} may be {found[known]} or {file}; label one of them")
        found[known] = file
    return Corrections({source_of(file): corrected[name] for name, file in found.items()}, table)


def with_corrections(
    items: Iterable[Item | Outcome], corrections: Corrections, task: Task
) -> Iterator[Item | Outcome]:
    """The items; for those that were corrected, what became of them: their masks are written."""
    for item in items:
        mask = corrections.masks.get(item.source) if isinstance(item, Item) else None
        if mask is None or not isinstance(item, Item):
            yield item
            continue
        try:
            result = _result(item, mask, corrections.table, task)
        except UserError as error:
            yield Failure(str(error))
        else:
            yield write_results(task, item, result)


def _result(item: Item, mask: Path, table: npt.NDArray[np.int16], task: Task) -> Segmentation:
    assert task.classes is not None
    labels = read_mask(mask)
    size = upright_size(Path(item.source))
    if labels.shape != size:
        raise UserError(
            f"the corrected mask {mask} is {labels.shape[1]} x {labels.shape[0]} pixels, its "
            f"picture {item.source} {size[1]} x {size[0]}"
        )
    indices = table[labels.astype(np.uint8)]  # (H, W)
    colours = class_colours([group[0] for group in task.classes])
    return Segmentation(
        labels=indices,
        legend=make_legend(task.classes, colours, [()] * len(task.classes), indices),
        image=np.broadcast_to(np.uint8(0), (*size, 3)),
        confidence=np.ones(size, np.float16),
    )


def _ends(source: str) -> Iterator[str]:
    """The path from each of its folders on, the longest first, as names are compared."""
    parts = PurePath(source).with_suffix("").parts
    return ("/".join(parts[start:]).casefold() for start in range(1, len(parts)))
