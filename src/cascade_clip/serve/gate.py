"""Which of gradio's own routes the page needs, and what they accept."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cascade_clip.serve.limits import Refused
from cascade_clip.serve.page_files import PageFiles
from cascade_clip.serve.problems import problem_response

_GET = re.compile(
    r"/|/favicon\.ico|/manifest\.json|/theme\.css|/(assets|static)(/[\w-][\w.-]*)+"
    r"|/gradio_api/(app_id|queue/data|heartbeat/\w+)"
)
_POST = re.compile(r"/gradio_api/(queue/join|run/predict)")
_PARAMETERS = ("session_hash",)
_DROPPED_HEADERS = (b"origin", b"x-forwarded-host", b"x-gradio-")
"""Beginnings of headers that gradio echoes or obeys, whoever sends them."""


class PageGate:
    """ASGI middleware around gradio that blocks all requests but those of the page.

    Every file named in a click must be a plain one of `files`; of what is said about it, the path
    alone passes.
    """

    def __init__(self, app: ASGIApp, files: PageFiles) -> None:
        self.app = app
        self.files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["type"] != "http" or not is_open(scope["method"], scope["path"]):
                raise Refused(404, "not_found", "Not Found")
            if scope["method"] == "POST":
                receive = await self._checked(scope, receive)
        except Refused as refused:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await problem_response(refused)(scope, receive, send)
            return
        await self.app(_bare(scope), receive, send)

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        """The body, serialised again from what was parsed: gradio can't read it differently."""
        data, most = bytearray(), self.files.limits.click_bytes
        try:
            async for piece in Request(scope, receive).stream():
                data += piece
                if len(data) > most:
                    raise Refused(413, "too_many_bytes", f"a click has at most {most:,} bytes")
            body = await asyncio.to_thread(self._reread, data)
        except (ValueError, RecursionError, ClientDisconnect) as error:
            raise Refused(400, "bad_request", "the body is no JSON that the page sends") from error
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body}

        return replay

    def _reread(self, data: bytearray) -> bytes:
        return json.dumps(self._with_own_files(json.loads(data)), allow_nan=False).encode()

    def _with_own_files(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._with_own_files(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "path" in value:
            path = str(self.files.find(value["path"]))
            return {"path": path, "meta": {"_type": "gradio.FileData"}}
        return {name: self._with_own_files(item) for name, item in value.items()}


def is_open(method: str, path: str) -> bool:
    """Whether the page needs a route of gradio's."""
    if method == "POST":
        return _POST.fullmatch(path) is not None
    return method in ("GET", "HEAD") and _GET.fullmatch(path) is not None


def _bare(scope: Scope) -> Scope:
    """The request without parameters and headers that the page does not send."""
    parameters = parse_qsl(scope["query_string"].decode("latin-1"))
    kept = [(name, value) for name, value in parameters if name in _PARAMETERS]
    headers = [pair for pair in scope["headers"] if not pair[0].startswith(_DROPPED_HEADERS)]
    return {**scope, "query_string": urlencode(kept).encode(), "headers": headers}
