"""Refuses bodies that are too large or too slow while they arrive, for every path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cascade_clip.serve.limits import Limits, Refused
from cascade_clip.serve.problems import problem_response

_SECONDS_TO_DISCARD = 10.0


class _Stopped(Exception):
    """The body won't be read to its end."""


class BodyLimit:
    """ASGI middleware around `app`.

    A body that says it is too large, or that finds no `place()`, is refused unread; one that turns
    out too large, or isn't complete in time, as soon as that shows. `count_error(source, reason)`
    counts all. The place is given back when the body is complete.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        count_error: Callable[[str, str], None],
        place: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.app = app
        self.limits = limits
        self.count_error = count_error
        self.place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with ExitStack() as place:
            body = _Body(receive, self.limits, place.close)
            answer = _Answer(scope, receive, send, body)
            try:
                self._let_in(Headers(scope=scope), place)
            except Refused as refused:
                body.refusal = refused
                await answer.refuse()
                await _discard(receive, self.limits.body_bytes)
            else:
                try:
                    await self.app(scope, body.receive, answer.send)
                except _Stopped:
                    await answer.refuse()
        if body.refusal is not None:
            source = "rest" if scope["path"].startswith("/v1/") else "page"
            self.count_error(source, body.refusal.code)

    def _let_in(self, headers: Headers, place: ExitStack) -> None:
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.limits.body_bytes:
            raise self.limits.too_many_bytes()
        if length not in ("", "0") or "transfer-encoding" in headers:
            place.enter_context(self.place())


class _Body:
    """A request's body on its way in."""

    def __init__(self, receive: Receive, limits: Limits, arrived: Callable[[], None]) -> None:
        self._receive = receive
        self._arrived = arrived
        self._limits = limits
        self._size = 0
        self._deadline = time.monotonic() + limits.seconds
        self._complete = False
        self.refusal: Refused | None = None

    async def receive(self) -> Message:
        if self._complete:
            return await self._receive()
        try:
            message = await asyncio.wait_for(
                self._receive(), max(0.0, self._deadline - time.monotonic())
            )
        except TimeoutError:
            self.refusal = Refused(
                408, "upload_too_slow", f"the upload took longer than {self._limits.seconds:g} s"
            )
            raise _Stopped from None
        self._size += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._size > self._limits.body_bytes:
            self.refusal = self._limits.too_many_bytes()
            raise _Stopped
        if self._complete:
            self._arrived()
        return message


class _Answer:
    """What goes out: the answer of the application or, once its body is refused, the refusal."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, body: _Body) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._body = body
        self._started = False

    async def send(self, message: Message) -> None:
        if self._body.refusal is None:
            self._started = True
            await self._send(message)
        else:  # the application's own words about a body that broke off
            await self.refuse()

    async def refuse(self) -> None:
        refusal = self._body.refusal
        if refusal is not None and not self._started:
            self._started = True
            await problem_response(refusal)(self._scope, self._receive, self._send)


async def _discard(receive: Receive, most: int) -> None:
    """Reads some of a refused body: a connection closed in the middle of an upload would
    be reset, and the client might never see the answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_SECONDS_TO_DISCARD):
            while most > 0:
                message = await asyncio.wait_for(receive(), timeout=1.0)
                most -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
