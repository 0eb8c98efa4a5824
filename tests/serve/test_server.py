"""REST interface and page in one server."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from cascade_clip.errors import UserError
from cascade_clip.segmenter import Segmenter
from cascade_clip.serve.limits import Limits
from cascade_clip.serve.service import Service
from cascade_clip.serve.start import open_port
from tests.serve.conftest import HERE, needs_page


@pytest.fixture
def ended_by_signal() -> Iterator[None]:
    """Puts back what SIGTERM did before a server ran in this process."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@needs_page
def test_beside_the_page_mistaken_addresses_are_problems_too(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    from cascade_clip.serve.server import page_app

    app = page_app(Service(segmenter, Limits()), None, tmp_path)
    with TestClient(app, base_url=HERE) as client:
        nothing, method = client.get("/v1/nothing"), client.get("/v1/segment")
        assert (nothing.status_code, nothing.json()["error"]) == (404, "not_found")
        assert (method.status_code, method.json()["error"]) == (405, "method_not_allowed")
        for unusual in ("TRACE", "PROPFIND"):
            answer = client.request(unusual, "/v1/segment")
            assert (answer.status_code, answer.json()["error"]) == (405, "method_not_allowed")
        assert client.get("/v1/model").status_code == client.get("/").status_code == 200


@needs_page
def test_clients_can_connect_once_it_is_announced(ended_by_signal: None) -> None:
    from cascade_clip.serve.server import run

    bound = open_port("127.0.0.1", 0)
    address = bound.getsockname()[:2]
    connected = []

    def announce() -> None:
        connected.append(socket.create_connection(address, timeout=5).close())
        os.kill(os.getpid(), signal.SIGINT)

    run(FastAPI(), bound, announce)
    assert len(connected) == 1


@needs_page
def test_of_two_servers_that_start_at_once_one_says_that_the_port_is_taken(
    ended_by_signal: None, capfd: pytest.CaptureFixture[str]
) -> None:
    from cascade_clip.serve.server import run

    with open_port("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with open_port("127.0.0.1", port) as second:
            first.listen()
            with pytest.raises(UserError, match=f"port {port}: Address already in use"):
                run(FastAPI(), second, lambda: None)
    assert "Traceback" not in capfd.readouterr().err
