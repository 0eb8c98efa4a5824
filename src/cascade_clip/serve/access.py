"""The optional token: a header for programs, a cookie for browsers."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Annotated

from fastapi import FastAPI, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Receive, Scope, Send

from cascade_clip.report import html
from cascade_clip.serve.limits import Refused
from cascade_clip.serve.problems import problem_response
from cascade_clip.serve.start import check_token

COOKIE = "cascade_clip_access"
SIGN_IN = "/sign-in"
OPEN_PATHS = ("/healthz", SIGN_IN, "/favicon.ico", "/manifest.json")
"""The last two are fetched by browsers without their cookies, and are the same everywhere."""


class Access:
    """Who may come in: those who know `token`.

    Raises `UserError` for a token that is too short or doesn't fit into an HTTP header.
    """

    def __init__(self, token: str) -> None:
        check_token(token)
        self._token = token.encode()
        # Kept by browsers in the token's place: it opens this server, but doesn't reveal the token.
        self.cookie = hmac.new(self._token, COOKIE.encode(), hashlib.sha256).hexdigest()

    def knows(self, token: str) -> bool:
        """Whether this is the token, compared in constant time."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token)

    def allows(self, headers: Headers) -> bool:
        """Whether a request brings the token (`Authorization: Bearer`) or the cookie."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.knows(token.strip()):
            return True
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return hmac.compare_digest(cookie.encode("utf-8", "replace"), self.cookie.encode())


class TokenGuard:
    """ASGI middleware that requires the token for all paths but `OPEN_PATHS`.

    Programs get 401 as JSON, browsers the sign-in page.
    """

    def __init__(
        self, app: ASGIApp, access: Access, count_error: Callable[[str, str], None]
    ) -> None:
        self.app = app
        self.access = access
        self.count_error = count_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self.access.allows(headers):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            await RedirectResponse(SIGN_IN, status_code=303)(scope, receive, send)
        else:
            self.count_error("rest" if scope["path"].startswith("/v1/") else "page", "unauthorised")
            await problem_response(
                Refused(
                    401,
                    "unauthorised",
                    "this server wants a token: send the header 'Authorization: Bearer TOKEN'",
                )
            )(scope, receive, send)


def add_sign_in(app: FastAPI, access: Access) -> None:
    """The page that takes the token and leaves a cookie; a link may bring the token along."""

    def answer(request: Request, token: str | None) -> Response:
        if token is None:
            return HTMLResponse(_sign_in_page("This server wants a token."))
        if not access.knows(token):
            return HTMLResponse(_sign_in_page("That was not the token."), status_code=401)
        response = RedirectResponse("/", status_code=303)
        response.set_cookie(
            COOKIE,
            access.cookie,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return response

    @app.get(SIGN_IN, include_in_schema=False)
    async def ask(request: Request, token: str | None = None) -> Response:
        return answer(request, token)

    @app.post(SIGN_IN, include_in_schema=False)
    async def sign_in(request: Request, token: Annotated[str, Form()]) -> Response:
        return answer(request, token)


def _sign_in_page(lead: str) -> str:
    form = (
        f'<form method="post" action="{SIGN_IN}"><label>Token '
        '<input name="token" type="password" autocomplete="current-password" required autofocus '
        'style="font: inherit; padding: .4rem .6rem; min-width: 20rem"></label> '
        '<button style="font: inherit; padding: .4rem 1.2rem">Sign in</button></form>'
    )
    return html.page("cascade-clip", lead, [form])
