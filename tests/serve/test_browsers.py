"""What other web pages can do with this server through a visitor's browser: nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from cascade_clip.errors import UserError
from cascade_clip.segmenter import Segmenter
from cascade_clip.serve.access import Access
from cascade_clip.serve.limits import Limits
from cascade_clip.serve.rest import create_app
from cascade_clip.serve.service import Service
from cascade_clip.serve.start import LOCAL_HOSTS, known_hosts
from tests.serve.conftest import HERE, SCENE_PNG, needs_page

HOSTS = (*LOCAL_HOSTS, "masks.example.org")
FILES = {"picture": SCENE_PNG}


@pytest.fixture(scope="module")
def client(segmenter: Segmenter) -> Iterator[TestClient]:
    app = create_app(Service(segmenter, Limits()), Access("correct-horse"), HOSTS)
    with TestClient(app, base_url=HERE, headers={"authorization": "Bearer correct-horse"}) as made:
        yield made


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:7860", "127.0.0.1:1", "[::1]:7860", "masks.example.org"]
)
def test_known_hosts_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/v1/model", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "evil.example:7860", "evil.example@localhost", "",
     "localhost:x", "localhost/", "127.0.0.1.nip.io", "masks.example.org.", "[::2]", "0.0.0.0"],
)  # fmt: skip
def test_unknown_hosts_are_refused(client: TestClient, host: str) -> None:
    for path in ("/v1/model", "/", "/sign-in", "/healthz", "/nothing"):
        answer = client.get(path, headers={"host": host})
        assert (answer.status_code, answer.json()["error"]) == (421, "unknown_host")
    assert "--allowed-host" in answer.json()["reason"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost.evil", "x"])
def test_nothing_is_sent_from_pages_of_others(client: TestClient, origin: str) -> None:
    for path, fields in (("/v1/segment", {"files": FILES}), ("/sign-in", {"data": {"token": "x"}})):
        answer = client.post(path, headers={"origin": origin}, **fields)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["error"]) == (403, "foreign_origin")
    seen = client.get("/v1/model", headers={"origin": origin})
    assert "access-control-allow-origin" not in seen.headers


def test_a_page_of_its_own_may_send(client: TestClient) -> None:
    for origin in ("http://localhost:7860", "https://masks.example.org"):
        headers = {"origin": origin}
        assert client.post("/v1/segment", files=FILES, headers=headers).is_success


def test_every_answer_tells_browsers_to_be_careful(client: TestClient) -> None:
    for path in ("/v1/model", "/openapi.json", "/sign-in", "/v1/nothing", "/healthz"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "same-origin"
    assert "content-security-policy" in client.get("/", headers={"host": "evil.example"}).headers


@needs_page
def test_the_page_repeats_no_foreign_host(segmenter: Segmenter) -> None:
    from cascade_clip.serve.server import page_app
    from cascade_clip.serve.temporary import page_folder

    with page_folder() as folder:
        app = page_app(Service(segmenter, Limits()), None, folder)
        with TestClient(app, base_url=HERE) as client:
            forged = {
                "x-forwarded-host": "evil.example",
                "x-gradio-server": "http://evil.example",
                "origin": "http://evil.example",
            }
            page = client.get("/", headers=forged)
            assert page.status_code == 200 and "evil.example" not in page.text
            assert not [name for name in page.headers if name.startswith("access-control")]
            preflight = {**forged, "access-control-request-method": "POST"}
            asked = client.options("/gradio_api/queue/join", headers=preflight)
            assert not [name for name in asked.headers if name.startswith("access-control")]


def test_the_names_a_user_gives_are_known() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        known = known_hosts(bound, ["Masks.Example.org", "fd00::7", "[fd00::8]"])
        assert known[-3:] == ("masks.example.org", "[fd00::7]", "[fd00::8]")
        for name in ("http://masks.example.org", "masks.example.org:80", "*", "", "a/b"):
            with pytest.raises(UserError, match="allowed hosts are names"):
                known_hosts(bound, [name])
