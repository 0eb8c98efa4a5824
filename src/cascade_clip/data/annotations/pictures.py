"""The pictures that annotations are of."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence
from os.path import abspath, commonpath
from pathlib import Path, PurePosixPath

from cascade_clip.data.annotations.found import Annotated
from cascade_clip.data.folder import files_below
from cascade_clip.errors import UserError
from cascade_clip.io.find import is_picture
from cascade_clip.support.messages import some_of


class PictureFinder:
    """The picture files of a folder and its subfolders, found by what annotations call them.

    Of several files of that name the one is meant that the most folders of the path agree with.
    Names that differ in case, or in how accents are written, are taken where none is equal. Files
    that are `masks`, or lie in VOC's folders for masks, are no pictures.
    """

    def __init__(self, folder: Path, masks: Collection[Path] = ()) -> None:
        self.folder = folder
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for file in sorted(files_below(folder)):
            places = file.relative_to(folder).parts[:-1]
            if is_picture(file) and file not in masks and not any(map(_holds_masks, places)):
                self._by_name[_plain(file.name)].append(file)
                self._by_stem[_plain(file.stem)].append(file)

    def find(self, annotated: Annotated) -> Path:
        """The picture of these annotations. Raises `UserError` if there is none, or several."""
        path = Path(annotated.picture)
        if path.is_absolute() and path.is_file():
            return path
        wanted = [*PurePosixPath(annotated.picture.replace("\\", "/")).parts]
        known = self._by_stem if annotated.by_stem else self._by_name
        candidates = known.get(_plain(wanted[-1] if wanted else ""), [])
        if not candidates:
            raise UserError(f"{annotated.entry}: no picture {annotated.picture} in {self.folder}")
        agreeing = {file: _agreement(file, wanted, annotated.by_stem) for file in candidates}
        most = max(agreeing.values())
        best = [file for file, count in agreeing.items() if count == most]
        if len(best) > 1:
            named = some_of([str(file) for file in best], 3)
            raise UserError(f"{annotated.entry}: {annotated.picture} may be any of {named}")
        return best[0]


def result_names(pictures: Sequence[Path]) -> list[str]:
    """What the files are called in a new folder: their paths below the folder of them all."""
    if not pictures:
        return []
    whole = [Path(abspath(picture)) for picture in pictures]
    base = Path(commonpath([picture.parent for picture in whole]))
    return [picture.relative_to(base).as_posix() for picture in whole]


def _agreement(file: Path, wanted: Sequence[str], by_stem: bool) -> tuple[int, bool]:
    """How many parts of the path agree, from the end, and whether the name is equal."""
    own = [*file.parts[:-1], file.stem if by_stem else file.name]
    count = 0
    # Up to the end of the shorter path.
    for one, other in zip(reversed(own), reversed(wanted), strict=False):
        if _plain(one) != _plain(other):
            break
        count += 1
    return count, own[-1] == wanted[-1]


def _holds_masks(folder: str) -> bool:
    return folder.startswith(("SegmentationClass", "SegmentationObject"))


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
