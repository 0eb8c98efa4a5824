"""What is to be segmented, one picture after the other: files, and frames of videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cascade_clip.batch.names import frame_name, result_names, source_of
from cascade_clip.errors import UserError
from cascade_clip.io.find import file_stamp, is_video
from cascade_clip.io.images import RGBArray, read_picture
from cascade_clip.io.video import Sampling, count_frames, frame_pixels, frames


@dataclass(frozen=True)
class Item:
    """One picture."""

    name: str
    """Stem of its results."""
    source: str
    """Absolute path of the file that it comes from."""
    stamp: str
    """Changes when the file changes."""
    read: Callable[[], RGBArray]
    """Its pixels (H, W, 3); raises `UserError` if they can't be read."""


@dataclass(frozen=True)
class Failure:
    """A file, or the rest of a video, that could not be read."""

    message: str


def items_of(
    files: Sequence[Path], sampling: Sampling | None, kept: Mapping[str, str]
) -> Iterator[Item | Failure]:
    """One item for each picture file, and one for each frame of a video, named as `result_names`
    says: `kept` are the names by source that earlier runs gave. Without `sampling`, videos
    count as pictures, which can't be read."""
    for file, name in zip(files, result_names(files, kept), strict=True):
        source, stamp = source_of(file), file_stamp(file)
        if sampling is None or not is_video(file):
            yield Item(name, source, stamp, partial(read_picture, file))
            continue
        try:
            for number, frame in frames(file, sampling):
                called = frame_name(name, number)
                yield Item(called, source, stamp, partial(frame_pixels, frame))
        except UserError as error:
            yield Failure(str(error))


def count_items(files: Sequence[Path], sampling: Sampling) -> int:
    """About how many items there are; unreadable videos count as one."""
    return sum(_count_frames(file, sampling) if is_video(file) else 1 for file in files)


def _count_frames(file: Path, sampling: Sampling) -> int:
    try:
        return count_frames(file, sampling)
    except UserError:
        return 1
