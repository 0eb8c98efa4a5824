"""REST interface and page in one server."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from cascade_clip.segmenter import Segmenter
from cascade_clip.serve.limits import Limits
from cascade_clip.serve.service import Service
from tests.serve.conftest import needs_page


@needs_page
def test_beside_the_page_mistaken_addresses_are_problems_too(
    segmenter: Segmenter, tmp_path: Path
) -> None:
    from cascade_clip.serve.server import page_app

    with TestClient(page_app(Service(segmenter, Limits()), None, tmp_path)) as client:
        nothing, method = client.get("/v1/nothing"), client.get("/v1/segment")
        assert (nothing.status_code, nothing.json()["error"]) == (404, "not_found")
        assert (method.status_code, method.json()["error"]) == (405, "method_not_allowed")
        assert client.get("/v1/model").status_code == client.get("/").status_code == 200
