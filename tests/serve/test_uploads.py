"""What the page takes and keeps of uploads."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from cascade_clip.segmenter import Segmenter
from cascade_clip.serve.limits import Limits
from cascade_clip.serve.page_files import PageFiles
from cascade_clip.serve.service import Service
from cascade_clip.serve.temporary import EXAMPLES, sweep
from cascade_clip.serve.uploads import BodyLimit
from tests.serve.conftest import HERE, SCENE_PNG, MakeService, needs_page, png_header

MB = 1_000_000


@pytest.fixture
def page(segmenter: Segmenter, tmp_path: Path) -> Iterator[TestClient]:
    from cascade_clip.serve.server import page_app

    app = page_app(Service(segmenter, Limits(megabytes=1, megapixels=1)), None, tmp_path)
    with TestClient(app, base_url=HERE) as client:
        yield client


@needs_page
def test_what_is_no_picture_is_refused_at_the_door(page: TestClient, tmp_path: Path) -> None:
    def upload(data: bytes, name: str = "a.png") -> Any:
        return page.post("/gradio_api/upload", files={"files": (name, data)})

    before = set(tmp_path.rglob("*"))
    for data, status, reason in (
        (b"", 422, "empty"),
        (b"#!/bin/sh", 422, "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", 422, "not a picture"),
        (SCENE_PNG[:2000], 422, "damaged"),
        (png_header(60_000, 60_000), 413, "pixels"),
        (b"\0" * 2 * MB, 413, "larger than 1 MB"),
    ):
        answer = upload(data)
        assert (answer.status_code, reason in answer.text) == (status, True)
    assert set(tmp_path.rglob("*")) == before
    (odd,) = upload(SCENE_PNG, "../../<b>.html").json()
    assert Path(odd).name == "picture.png" and Path(odd).is_relative_to(tmp_path)


def test_the_oldest_uploads_of_a_client_go_first(tmp_path: Path) -> None:
    files = PageFiles(tmp_path, Limits(megabytes=1))
    other = files.keep(b"x" * MB, ".png", "192.0.2.9")
    kept = []
    for minute in range(14):
        kept.append(files.keep(b"x" * MB, ".png", f"2001:db8::{minute}"))
        os.utime(kept[-1], (time.time() - 60 * (14 - minute),) * 2)
    alive = [file.exists() for file in kept]
    assert alive == [False] * 4 + [True] * 10  # all of one network
    assert other.exists()


def test_a_full_folder_keeps_the_newest_and_the_examples(tmp_path: Path) -> None:
    (tmp_path / EXAMPLES).mkdir()
    example = tmp_path / EXAMPLES / "scene.png"
    names = [example, *(tmp_path / f"folder-{age}" / "small.png" for age in range(9))]
    for age, file in enumerate(names):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
        os.utime(file, (time.time() - 100 * age,) * 2)
    os.utime(example, (0, 0))
    sweep(tmp_path, most_bytes=4 * 65_536)
    assert [file.exists() for file in names] == [True] * 5 + [False] * 5
    for folder in tmp_path.iterdir():
        os.utime(folder, (0, 0))
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 5  # empty folders went too


def test_requests_count_while_they_arrive(make_service: MakeService) -> None:
    """An upload finds the only place taken by one that is still on its way."""
    service = make_service(queue=1)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        with service.place():  # given back by the upload
            await PlainTextResponse("done")(scope, receive, send)

    limit = BodyLimit(app, service.limits, service.metrics.count_error, service.place)

    async def post(arrives: asyncio.Event) -> int:
        async def receive() -> dict[str, Any]:
            await arrives.wait()
            return {"type": "http.request", "body": b"x"}

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        statuses: list[int] = []
        headers = [(b"content-length", b"1")]
        scope = {"type": "http", "method": "POST", "path": "/v1/segment", "headers": headers}
        await limit(scope, receive, send)
        return statuses[0]

    async def three() -> tuple[int, int, int]:
        late, now = asyncio.Event(), asyncio.Event()
        now.set()
        slow = asyncio.create_task(post(late))
        await asyncio.sleep(0)
        refused = await post(now)
        late.set()
        return await slow, refused, await post(now)

    assert asyncio.run(three()) == (200, 503, 200)
    assert '{reason="queue_full",source="rest"} 1.0' in service.metrics.text().decode()
