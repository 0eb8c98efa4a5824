"""A tiny Hugging Face hub on this machine: as much of its HTTP interface as models need."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import huggingface_hub.constants
import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Repositories by name, each its files by path; `gated` ones ask for consent."""

    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    gated: set[str] = field(default_factory=set)
    refuses_uploads: bool = False
    asked: list[str] = field(default_factory=list)
    """Every request: its method and path, and the range of bytes it asks for, if any."""
    breaks_at: int | None = None
    """Large files break off at this byte."""


@contextmanager
def run_hub() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def only_hub(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Hub]:
    """A hub in the place of the real one, with a cache of its own for what is fetched."""
    with run_hub() as hub:
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield hub


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.look_up()

        def do_HEAD(self) -> None:
            self.look_up()

        def look_up(self) -> None:
            wanted = self.headers.get("Range", "")
            hub.asked.append(f"{self.command} {self.path} {wanted}".strip())
            parts = self.path.split("?")[0].strip("/").split("/")
            if parts[0] == "large":
                return self.answer_large(parts[1], wanted)
            name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
            files = hub.repositories.get(name)
            if files is None:
                return self.refuse(401, "RepoNotFound")
            if name in hub.gated:
                return self.refuse(403, "GatedRepo")
            if parts[0] != "api":  # NAME/NAME/resolve/REVISION/FILE
                path = "/".join(parts[4:])
                if path not in files:
                    return self.refuse(404, "EntryNotFound")
                return self.answer_file(files[path], path.endswith((".safetensors", ".bin")))
            if parts[4] == "revision" and parts[5] not in ("main", "v1", COMMIT):
                return self.refuse(404, "RevisionNotFound")
            if parts[4] == "revision":
                return self.answer({"id": name, "sha": COMMIT, "siblings": []})
            listing = [
                {"type": "file", "path": path, "size": len(data), "oid": _digest(data)}
                for path, data in files.items()
            ]
            return self.answer(listing)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            parts = self.path.split("?")[0].strip("/").split("/")
            if hub.refuses_uploads or not self.headers.get("Authorization"):
                return self.refuse(401, "")
            if parts[1:] == ["repos", "create"]:
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                hub.created.append(asked)
                hub.repositories.setdefault(name, {})
                return self.answer({"url": f"{hub.url}/{name}", "id": "1", "name": name})
            if parts[1:] == ["validate-yaml"]:  # the header of the card
                return self.answer({"errors": [], "warnings": []})
            name = "/".join(parts[2:4])
            if parts[4] == "preupload":
                files = [
                    {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for file in json.loads(body)["files"]
                ]
                return self.answer({"files": files})
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    data = base64.b64decode(entry["value"]["content"])
                    hub.repositories[name][entry["value"]["path"]] = data
            return self.answer(
                {"commitUrl": f"{hub.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT}
            )

        def answer(self, value: object) -> None:
            self.send(json.dumps(value).encode(), {"Content-Type": "application/json"})

        def answer_file(self, data: bytes, large: bool) -> None:
            headers = {"ETag": f'"{_digest(data)}"', "X-Repo-Commit": COMMIT}
            if not large:
                return self.send(data, headers)
            digest = hashlib.sha256(data).hexdigest()
            headers["X-Linked-Etag"], headers["X-Linked-Size"] = f'"{digest}"', str(len(data))
            host = hub.url.replace("127.0.0.1", "localhost")  # they lie elsewhere
            return self.send(b"", {**headers, "Location": f"{host}/large/{digest}"}, 302)

        def answer_large(self, digest: str, wanted: str) -> None:
            everything = [data for files in hub.repositories.values() for data in files.values()]
            data = next(one for one in everything if hashlib.sha256(one).hexdigest() == digest)
            start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
            end = len(data) if hub.breaks_at is None else hub.breaks_at
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(data) - start))
            if wanted:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            self.wfile.write(data[start:end])

        def refuse(self, status: int, code: str) -> None:
            self.send(b"{}", {"X-Error-Code": code, "Content-Type": "application/json"}, status)

        def send(self, data: bytes, headers: dict[str, str], status: int = 200) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    return Handler


def _digest(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
