"""A server around the embedded model, and pictures to send to it."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from cascade_clip.data.picturebook import draw_scene
from cascade_clip.imageio import Picture
from cascade_clip.query import Query
from cascade_clip.segmentation import Segmentation
from cascade_clip.segmenter import Segmenter
from cascade_clip.serve.limits import Limits
from cascade_clip.serve.rest import create_app
from cascade_clip.serve.service import Service

SCENE = draw_scene(20_003, 1, (96, 128)).image
"""A cat before sky, water and wood."""


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0")
    chunks = [
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, data)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


HERE = "http://localhost"
SCENE_PNG = png(Image.fromarray(SCENE))


class Gated:
    """Stands for a segmenter that is at work for as long as its gate is shut. With `result` it
    gives that one: at once, however busy the machine is."""

    def __init__(self, segmenter: Segmenter, result: Segmentation | None = None) -> None:
        self._segmenter = segmenter
        self._result = result
        self.gate = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._segmenter, name)

    def segment_batch(self, pictures: Sequence[Picture], query: Query) -> list[Segmentation]:
        assert self.gate.wait(30)
        if self._result is not None:
            return [self._result] * len(pictures)
        return self._segmenter.segment_batch(pictures, query)


@pytest.fixture(scope="session")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained()


MakeService = Callable[..., Service]


@pytest.fixture
def make_service(segmenter: Segmenter) -> Iterator[MakeService]:
    """`make_service(segmenter=..., LIMIT=...)`; closed at the end."""
    made: list[Service] = []

    def make(segmenter: Segmenter = segmenter, **limits: float) -> Service:
        made.append(Service(segmenter, Limits(**limits)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def client(segmenter: Segmenter) -> Iterator[TestClient]:
    with TestClient(create_app(Service(segmenter, Limits())), base_url=HERE) as client:
        yield client


def _page_missing() -> str | None:
    try:
        gradio = version("gradio")
    except PackageNotFoundError:
        return "gradio is not installed"
    return (
        None if int(gradio.partition(".")[0]) >= 6 else f"gradio {gradio} is too old for the page"
    )


needs_page = pytest.mark.skipif(_page_missing() is not None, reason=str(_page_missing()))
