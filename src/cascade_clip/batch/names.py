"""Names of results: each picture's its own, and the same when a command is repeated."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cascade_clip.io.find import is_video
from cascade_clip.support.printable import plain_file_name

_FRAME = re.compile(r"(.+)-\d{6,}")


def source_of(file: Path) -> str:
    """What a file is called from wherever a command is typed: its absolute path."""
    return os.path.abspath(file)


def frame_name(video: str, number: int) -> str:
    """The name of a frame's results, by the name of its video."""
    return f"{video}-{number:06d}"


def names_of_sources(named: Iterable[tuple[str, str]]) -> dict[str, str]:
    """From (source, name) of results to the name by source; of videos what `frame_name` takes."""
    names = {}
    for source, name in named:
        video = _FRAME.fullmatch(name) if is_video(Path(source)) else None
        names[source] = video[1] if video else name
    return names


def result_names(files: Sequence[Path], kept: Mapping[str, str]) -> list[str]:
    """A file stem for the results of each file, unlike all others: that in `kept` (by source), or
    the file's own with `_` for what can't be shown, numbered where it is taken. That of a video
    begins the names of its frames."""
    names = _Names()
    for source, name in kept.items():
        names.take(source, name)
    return [names.of(source_of(file)) for file in files]


class _Names:
    def __init__(self) -> None:
        self._by_source: dict[str, str] = {}
        self._taken: set[str] = set()
        self._videos: set[str] = set()
        self._would_be_videos: set[str] = set()
        """Videos of these names would have frames with names of pictures."""

    def take(self, source: str, name: str) -> None:
        self._by_source[source] = name
        self._taken.add(name)
        if is_video(Path(source)):
            self._videos.add(name)
        elif frame := _FRAME.fullmatch(name):
            self._would_be_videos.add(frame[1])

    def of(self, source: str) -> str:
        if source not in self._by_source:
            visible = Path(source).stem.lstrip(".") or "picture"  # no hidden results
            stem = name = plain_file_name(visible)
            number = 2
            while not self._is_free(name, is_video(Path(source))):
                name, number = f"{stem}-{number}", number + 1
            self.take(source, name)
        return self._by_source[source]

    def _is_free(self, name: str, video: bool) -> bool:
        frame = _FRAME.fullmatch(name)
        return not (
            name in self._taken
            or (frame is not None and frame[1] in self._videos)
            or (video and name in self._would_be_videos)
        )
