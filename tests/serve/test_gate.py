"""What a stranger may ask of the page: nothing but what the page itself asks."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.routing import Mount
from starlette.testclient import TestClient

from cascade_clip.segmenter import Segmenter
from cascade_clip.serve.limits import Limits
from cascade_clip.serve.service import Service
from cascade_clip.serve.temporary import page_folder
from tests.serve.conftest import HERE, SCENE_PNG, needs_page

pytestmark = needs_page

SESSION = "a-session"
META = {"_type": "gradio.FileData"}
NEEDED = {
    "/", "/favicon.ico", "/manifest.json", "/theme.css", "/assets/{path:path}",
    "/static/{path:path}", "/gradio_api/app_id", "/gradio_api/heartbeat/{session_hash}",
    "/gradio_api/queue/data", "/gradio_api/queue/join", "/gradio_api/run/{api_name}",
}  # fmt: skip
OURS = {
    "/openapi.json", "/gradio_api/upload", "/gradio_api/upload_progress",
    "/gradio_api/file={path_or_url:path}",
}  # fmt: skip
"""Addresses of gradio's that are answered by others."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with page_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def client(segmenter: Segmenter, folder: Path) -> Iterator[TestClient]:
    from cascade_clip.serve.server import page_app

    app = page_app(Service(segmenter, Limits()), None, folder)
    with TestClient(app, base_url=HERE) as client:
        yield client


def upload(client: TestClient, data: bytes = SCENE_PNG, name: str = "scene.png") -> Any:
    return client.post("/gradio_api/upload", files={"files": (name, data)})


def click(client: TestClient, picture: Any, names: Any = "cat, sky") -> Any:
    """The answer to a click on Segment, or to its message if the click is let in."""
    page = client.get("/").text
    config = json.loads(page.split("window.gradio_config = ")[1].split(";</script>")[0])
    (segment, *_) = [one["id"] for one in config["dependencies"] if len(one["inputs"]) == 4]
    body = {
        "data": [picture, names, False, 0.5], "fn_index": segment, "session_hash": SESSION,
        "event_data": None,
    }  # fmt: skip
    headers = {"content-type": "application/json"}
    joined = client.post("/gradio_api/queue/join", content=json.dumps(body), headers=headers)
    if not joined.is_success:
        return joined
    events = client.get("/gradio_api/queue/data", params={"session_hash": SESSION}).text
    return next(
        json.loads(line[6:]) for line in events.splitlines() if '"process_completed"' in line
    )


def described(path: object, **more: object) -> dict[str, object]:
    """A file as the page describes it."""
    return {"path": path, "meta": META, **more}


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture(scope="module")
def foreign(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Names that lead to none of the page's plain files."""
    outside = tmp_path_factory.mktemp("outside") / "own.png"
    outside.write_bytes(SCENE_PNG)
    os.mkfifo(folder / "pipe")
    (folder / "link.png").symlink_to(outside)
    (folder / "linked").symlink_to(outside.parent)
    (folder / "circle").symlink_to(folder / "circle")
    return {
        "a picture": str(outside),
        "a text": "/etc/hostname",
        "without an end": "/dev/zero",
        "through /proc": f"/proc/self/root{outside}",
        "through ..": f"{folder}/../{outside.parent.name}/../..{outside}",
        "a folder": str(folder),
        "a pipe": f"{folder}/pipe",
        "a link": f"{folder}/link.png",
        "through a link": f"{folder}/linked/own.png",
        "a circle": f"{folder}/circle",
        "two slashes": f"/{outside}",
        "relative": os.path.relpath(outside),
        "a nul": f"{folder}/examples\0/../../{outside}",
        "half a character": f"{folder}/\ud800",
        "endless": f"{folder}/{'a' * 5000}",
        "an address": "http://127.0.0.1:9/own.png",
        "file:": f"file://{outside}",
        "a number": 7,
        "a list": [str(outside)],
        "nothing": None,
    }


def test_an_uploaded_picture_is_segmented_and_its_results_can_be_fetched(
    client: TestClient,
) -> None:
    (path,) = upload(client).json()
    shown = client.get(f"/gradio_api/file={path}")
    assert (shown.content, shown.headers["content-type"]) == (SCENE_PNG, "image/png")
    done = click(client, described(path, url="http://192.0.2.1/x", size=1, is_stream=True))
    assert done["success"], done
    mask = next(one["value"] for one in done["output"]["data"] if "mask.png" in str(one))
    fetched = client.get(f"/gradio_api/file={mask['path']}")
    assert fetched.content.startswith(b"\x89PNG")


def test_clicks_can_not_name_other_files(
    client: TestClient, folder: Path, foreign: dict[str, Any]
) -> None:
    before = files_in(folder)
    for what, path in foreign.items():
        for picture in (described(path), {"path": path}, [[{"x": described(path)}]]):
            assert click(client, picture).status_code == 404, what
    assert files_in(folder) == before
    assert client.get("/healthz").is_success


def test_gradio_and_the_actions_check_it_too(
    client: TestClient, segmenter: Segmenter, folder: Path, foreign: dict[str, Any]
) -> None:
    import gradio as gr

    from cascade_clip.serve.actions import PageActions
    from cascade_clip.serve.page_files import PageFiles

    before = files_in(folder)
    gate = mounted(client).app
    mounted(client).app = gate.app
    try:
        for what in ("a picture", "a text", "without an end"):
            assert not click(client, described(foreign[what]))["success"]
    finally:
        mounted(client).app = gate
    assert files_in(folder) == before

    service = Service(segmenter, Limits())
    actions = PageActions(service, PageFiles(folder, service.limits))
    for path in foreign.values():
        with pytest.raises(gr.Error, match="no longer on the server"):
            asyncio.run(actions.segment({"path": path}, "cat, sky", False, 0.5))
    service.close()


@pytest.mark.parametrize("encoded", [1, 2, 3])
def test_other_files_can_not_be_fetched(
    client: TestClient, foreign: dict[str, Any], encoded: int
) -> None:
    for what, path in foreign.items():
        if isinstance(path, str) and path.isascii():
            for _ in range(encoded):
                path = quote(path, safe="")
            for route in ("file=", "file/", "stream/", "proxy="):
                assert client.get(f"/gradio_api/{route}{path}").status_code == 404, what


def test_what_is_no_picture_is_saved_and_not_shown(client: TestClient, folder: Path) -> None:
    (folder / "page.html").write_text("<script>")
    answer = client.get(f"/gradio_api/file={folder}/page.html")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


def mounted(client: TestClient) -> Any:
    return next(route for route in client.app.routes if isinstance(route, Mount))  # type: ignore


def routes_of(routes: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """(method, path) of all."""
    for route in routes:
        if hasattr(route, "original_router"):
            yield from routes_of(route.original_router.routes)
        else:
            yield from ((method, route.path) for method in route.methods)


def test_no_route_of_gradio_is_open_but_those_that_the_page_needs(client: TestClient) -> None:
    from cascade_clip.serve.gate import is_open

    filled = {"api_name": "predict", "path:path": "x.js"}
    everything = set(routes_of(mounted(client).app.app.routes))
    assert len(everything) > 60
    opened = set()
    for method, path in everything:
        url = re.sub(r"{(.*?)}", lambda found: filled.get(found[1], "x"), path)
        if is_open(method, url):
            opened.add(path)
        else:
            assert path in OURS or client.request(method, url).status_code == 404, path
    assert opened == NEEDED


def test_sessions_are_kept_within_bounds(client: TestClient) -> None:
    assert mounted(client).app.app.state_holder.capacity == 1000


@pytest.mark.parametrize(
    "url", ["/config", "/config/", "/gradio_api/deep_link?session_hash=a-session",
            "/gradio_api/info", "/gradio_api/dev/reload", "/monitoring", "/gradio_api/vibe-code",
            "/gradio_api/runs",
            "/static/../../../../../etc/hostname", "/static/%2e%2e/%2e%2e/routes.py",
            "/assets//etc/hostname", "/gradio_api/startup-events"]
)  # fmt: skip
def test_what_the_page_does_not_need_is_shut(client: TestClient, url: str) -> None:
    assert client.get(url).status_code == 404


def test_a_click_is_small_json(client: TestClient) -> None:
    def post(content: bytes, **headers: str) -> int:
        return client.post("/gradio_api/queue/join", content=content, headers=headers).status_code

    json_type = {"content-type": "application/json"}
    assert post(b"[" * 100_000, **json_type) == 400
    assert post(b"{", **json_type) == 400
    assert post(b'{"data": NaN}', **json_type) == 400
    assert post(b"[" + b"1," * 300_000 + b"1]", **json_type) == 413
    assert post(b"{}", **{"content-type": "text/plain"}) == 422
