"""What is to be segmented, one picture after the other: files, and frames of films."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cascade_clip.errors import UserError
from cascade_clip.imageio import RGBArray, read_picture
from cascade_clip.picture_files import is_video, result_names
from cascade_clip.video import Sampling, count_frames, frame_pixels, frames


@dataclass(frozen=True)
class Item:
    """One picture."""

    name: str
    """Stem of its results."""
    source: str
    """The file that it comes from."""
    file_name: str
    """What annotations call the picture."""
    stamp: str
    """Changes when the file changes."""
    read: Callable[[], RGBArray]
    """Its pixels (H, W, 3); raises `UserError` if they can't be read."""


@dataclass(frozen=True)
class Failure:
    """A file, or the rest of a film, that could not be read."""

    message: str


def items_of(files: Sequence[Path], sampling: Sampling) -> Iterator[Item | Failure]:
    """One item for each picture file, and one for each frame of a film."""
    for file, name in zip(files, result_names(files), strict=True):
        if not is_video(file):
            yield Item(name, str(file), file.name, _stamp(file), partial(read_picture, file))
            continue
        try:
            for number, frame in frames(file, sampling):
                called = f"{name}-{number:06d}"
                pixels = partial(frame_pixels, frame)
                yield Item(called, str(file), f"{called}.png", _stamp(file), pixels)
        except UserError as error:
            yield Failure(str(error))


def count_items(files: Sequence[Path], sampling: Sampling) -> int:
    """About how many items there are; unreadable films count as one."""
    return sum(_count_frames(file, sampling) if is_video(file) else 1 for file in files)


def _count_frames(file: Path, sampling: Sampling) -> int:
    try:
        return count_frames(file, sampling)
    except UserError:
        return 1


def _stamp(file: Path) -> str:
    try:
        facts = file.stat()
    except OSError:
        return "missing"  # reading it says so
    return f"{facts.st_size}-{facts.st_mtime_ns}"
