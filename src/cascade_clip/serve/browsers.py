"""Protection against cross-site requests and DNS rebinding."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cascade_clip.serve.limits import Refused, shortened
from cascade_clip.serve.problems import problem_response
from cascade_clip.serve.start import host_name

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_HEADERS = {
    # gradio's page holds scripts and styles in itself, and makes functions of its own texts.
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' "
    "'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class BrowserGuard:
    """ASGI middleware that answers requests for `hosts` only, the names this server is known by.

    A page whose name was made to lead here (DNS rebinding) has another one in its requests; what
    changes something must not come from a page of another host either.
    """

    def __init__(
        self, app: ASGIApp, hosts: Sequence[str], count_error: Callable[[str, str], None]
    ) -> None:
        self.app = app
        self.hosts = [host.lower() for host in hosts]
        self.count_error = count_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refused = self._refusal(Headers(scope=scope), scope.get("method", "GET"))
        if refused is None:
            await self.app(scope, receive, send_guarded)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            self.count_error("rest" if scope["path"].startswith("/v1/") else "page", refused.code)
            await problem_response(refused)(scope, receive, send_guarded)

    def _refusal(self, headers: Headers, method: str) -> Refused | None:
        host = host_name(headers.get("host", ""))
        if host not in self.hosts:
            name = shortened(host or "NAME", 100)
            reason = f"this server isn't known as {name}; start it with --allowed-host {name}"
            return Refused(421, "unknown_host", reason)
        origin = headers.get("origin")
        if origin is None or method in _SAFE_METHODS:
            return None
        if host_name(re.sub("^https?://", "", origin)) in self.hosts:
            return None
        return Refused(403, "foreign_origin", "pages of other hosts can't send anything here")
