"""The OpenAPI document says what a generated client has to know, and such a client works."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from cascade_clip.segmenter import Segmenter
from cascade_clip.serve.access import Access
from cascade_clip.serve.limits import Limits
from cascade_clip.serve.rest import create_app
from cascade_clip.serve.service import Service
from tests.serve.conftest import SCENE, SCENE_PNG
from tests.serve.test_docs import TOKEN, served

CLIENT = """
import sys
from pathlib import Path
from client import AuthenticatedClient
from client.api.default import model, segment
from client.models import BodySegment
from client.types import File

server, token, picture = sys.argv[1:]
def ask(token, **fields):
    body = BodySegment(picture=File(Path(picture).open("rb"), "scene.png", "image/png"), **fields)
    with AuthenticatedClient(server, token) as client:
        return segment.sync(client=client, body=body)

with AuthenticatedClient(server, token) as client:
    print(model.sync(client=client).limits.classes)
answer = ask(token, classes='["cat", "sky|heaven"]', threshold=0.5)
print([one.name for one in answer.classes], answer.classes[0].rle.size)
print(ask(token, classes="cat, cat").error)
print(ask("another token", classes="cat").error)
"""


@pytest.fixture
def document(client: TestClient) -> Any:
    return client.get("/openapi.json").json()


def test_it_describes_every_route_and_field(document: Any) -> None:
    operations = {
        path: next(iter(methods.values()))["operationId"]
        for path, methods in document["paths"].items()
    }
    assert operations == {
        "/v1/segment": "segment",
        "/v1/model": "model",
        "/healthz": "healthz",
        "/metrics": "metrics",
    }
    schemas = document["components"]["schemas"]
    fields = schemas["Body_segment"]["properties"]
    assert set(fields) == {
        "picture", "classes", "background", "background_names", "threshold", "thresholds", "format",
    }  # fmt: skip
    assert all(field["description"] for field in fields.values())
    assert "seen_names" in schemas["ClassAnswer"]["properties"]


def test_the_picture_is_a_file_and_no_field_null(document: Any) -> None:
    fields = document["components"]["schemas"]["Body_segment"]["properties"]
    assert fields["picture"]["format"] == "binary"
    assert {name: field["type"] for name, field in fields.items()} == {
        "picture": "string", "classes": "string", "background": "boolean", "threshold": "number",
        "background_names": "string", "thresholds": "string", "format": "string",
    }  # fmt: skip


def test_refusals_are_json_also_where_the_answer_is_text(document: Any) -> None:
    for path in document["paths"].values():
        for status, answer in next(iter(path.values()))["responses"].items():
            if status != "200":
                assert set(answer["content"]) == {"application/json"}


def test_a_token_is_a_security_scheme_of_all_routes_that_want_it(
    segmenter: Segmenter, document: Any
) -> None:
    guarded = create_app(Service(segmenter, Limits()), Access(TOKEN)).openapi()
    scheme = {"type": "http", "scheme": "bearer"}
    assert guarded["components"]["securitySchemes"] == {"HTTPBearer": scheme}
    want = {
        path
        for path, methods in guarded["paths"].items()
        if next(iter(methods.values())).get("security") == [{"HTTPBearer": []}]
    }
    assert want == {"/v1/segment", "/v1/model", "/metrics"}
    assert "securitySchemes" not in document["components"]


@pytest.mark.proof  # installs the generator into an environment of its own
def test_a_generated_client_segments_a_picture(segmenter: Segmenter, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"

    def run(*arguments: str) -> str:
        return subprocess.run(
            [python, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    run("-m", "pip", "install", "--quiet", "openapi-python-client==0.29.1")
    document = create_app(Service(segmenter, Limits()), Access(TOKEN)).openapi()
    (tmp_path / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    generate = ("generate", "--path", "openapi.json", "--meta", "none", "--output-path", "client")
    run("-m", "openapi_python_client", *generate)
    (tmp_path / "scene.png").write_bytes(SCENE_PNG)
    with served(segmenter, Access(TOKEN)) as url:
        printed = run("-c", CLIENT, url, TOKEN, "scene.png").splitlines()
    shown = f"['cat', 'sky'] {list(SCENE.shape[:2])}"
    assert printed == [str(Limits().classes), shown, "bad_request", "unauthorised"]
