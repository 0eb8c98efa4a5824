"""Nobody gets in without the token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from cascade_clip.errors import UserError
from cascade_clip.segmenter import Segmenter
from cascade_clip.serve.access import COOKIE, Access
from cascade_clip.serve.limits import Limits
from cascade_clip.serve.rest import create_app
from cascade_clip.serve.service import Service
from tests.serve.conftest import HERE, SCENE_PNG

TOKEN = "correct-horse-battery"
HTML = {"accept": "text/html"}


@pytest.fixture
def client(segmenter: Segmenter) -> Iterator[TestClient]:
    app = create_app(Service(segmenter, Limits()), Access(TOKEN))
    with TestClient(app, base_url=HERE, follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize("path", ["/v1/model", "/metrics", "/openapi.json", "/", "/any"])
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer", f"Basic {TOKEN}", "é"])
def test_programs_without_the_token_get_401(
    client: TestClient, path: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"authorization": authorization.encode("utf-8")}
    answer = client.get(path, headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"] == "unauthorised"


def test_an_upload_without_the_token_is_not_read(client: TestClient) -> None:
    answer = client.post("/v1/segment", files={"picture": SCENE_PNG})
    assert answer.status_code == 401
    allowed = {"authorization": f"Bearer {TOKEN}"}
    assert client.post("/v1/segment", files={"picture": SCENE_PNG}, headers=allowed).is_success
    metrics = client.get("/metrics", headers=allowed).text
    assert '{reason="unauthorised",source="rest"} 1.0' in metrics
    assert 'requests_total{source="rest"} 1.0' in metrics


def test_health_needs_no_token(client: TestClient) -> None:
    assert client.get("/healthz").status_code == 200


def test_browsers_sign_in_once(client: TestClient) -> None:
    sent_on = client.get("/", headers=HTML)
    assert (sent_on.status_code, sent_on.headers["location"]) == (303, "/sign-in")
    assert "password" in client.get("/sign-in").text
    wrong = client.post("/sign-in", data={"token": "wrong"})
    assert wrong.status_code == 401 and COOKIE not in client.cookies
    right = client.post("/sign-in", data={"token": TOKEN})
    assert (right.status_code, right.headers["location"]) == (303, "/")
    cookie = right.headers["set-cookie"]
    assert TOKEN not in cookie and "HttpOnly" in cookie and "samesite=lax" in cookie.lower()
    assert client.get("/v1/model").status_code == 200


def test_a_link_may_bring_the_token(client: TestClient) -> None:
    assert client.get("/sign-in", params={"token": "wrong"}).status_code == 401
    assert client.get("/sign-in", params={"token": TOKEN}).status_code == 303
    assert client.get("/openapi.json").status_code == 200


def test_a_made_up_cookie_opens_nothing(client: TestClient) -> None:
    for value in ("x", TOKEN, Access("another-token").cookie):
        assert client.get("/v1/model", headers={"cookie": f"{COOKIE}={value}"}).status_code == 401


@pytest.mark.parametrize("token", ["", "short", "with spaces in it", "müllers-kuh", "line\nbreak!"])
def test_tokens_that_would_not_work_are_refused(token: str) -> None:
    with pytest.raises(UserError, match="token"):
        Access(token)
