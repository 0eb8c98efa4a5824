"""Frames of video files, through PyAV (the extra `video`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cascade_clip.errors import UserError, first_line
from cascade_clip.support.messages import install_line

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

    from cascade_clip.io.images import RGBArray


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video: every `every`-th, or `fps` per second where that is given."""

    every: int = 1
    fps: float | None = None


def require_video() -> None:
    """Raises `UserError` unless PyAV is installed."""
    if find_spec("av") is None:
        raise UserError(
            f"video files need PyAV, which is missing; install it with: {install_line('video')}"
        )


def frames(path: Path, sampling: Sampling) -> Iterator[tuple[int, VideoFrame]]:
    """(number, frame) of the frames of a video that `sampling` takes, counted from 0.

    Raises `UserError` if the file can't be read; at a damaged place that is after the frames before
    it.
    """
    due = 0.0
    with _opened(path) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if sampling.fps is None:
                if number % sampling.every == 0:
                    yield number, frame
                continue
            time = frame.time or 0.0
            if time >= due - 1e-6:
                due = (int(time * sampling.fps + 1e-6) + 1) / sampling.fps
                yield number, frame


def count_frames(path: Path, sampling: Sampling) -> int:
    """About how many frames `frames` gives, by what the file says of itself; at least 1.

    Raises `UserError` if the file can't be read.
    """
    with _opened(path) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 25)
        base = stream.time_base
        seconds = float(stream.duration * base) if stream.duration and base else 0.0
        if not seconds and container.duration:
            seconds = container.duration / 1e6
        total = stream.frames or seconds * rate
        if sampling.fps is not None and rate > sampling.fps:
            return max(1, round(total * sampling.fps / rate))
        return max(1, -(-int(total) // (sampling.every if sampling.fps is None else 1)))


def frame_pixels(frame: VideoFrame) -> RGBArray:
    """The pixels (H, W, 3) of a frame, upright."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)), dtype=np.uint8)


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    require_video()
    import av
    from av.error import FFmpegError

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path} holds no moving pictures")
            container.streams.video[0].thread_type = "AUTO"
            yield container
    except UserError:
        raise
    except Exception as error:  # decoders raise more than FFmpegError on files that aren't sound
        reason = error.strerror if isinstance(error, FFmpegError) else first_line(error)
        raise UserError(f"{path} is damaged or no video: {reason}") from error
