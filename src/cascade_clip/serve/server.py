"""Puts page and REST interface together and runs them until they are stopped."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI, HTTPException
from starlette.routing import Match, Mount, Route
from starlette.types import Receive, Scope, Send

from cascade_clip.serve.access import Access
from cascade_clip.serve.gate import PageGate
from cascade_clip.serve.page import CSS, build_page, page_theme
from cascade_clip.serve.page_files import PageFiles, file_routes
from cascade_clip.serve.rest import create_app
from cascade_clip.serve.service import Service
from cascade_clip.serve.start import LOCAL_HOSTS, no_port

_SECONDS_TO_FINISH = 5


def page_app(
    service: Service, access: Access | None, folder: Path, hosts: Sequence[str] = LOCAL_HOSTS
) -> FastAPI:
    """REST interface and page; `folder` takes the page's files, the rest is as in `create_app`."""
    app = create_app(service, access, hosts)
    app.router.routes.append(Route("/v1/{rest:path}", _Mistaken()))
    files = PageFiles(folder, service.limits)
    app.include_router(file_routes(files, service))
    gr.mount_gradio_app(
        app,
        build_page(service, files),
        path="/",
        theme=page_theme(),
        css_paths=CSS,
        max_file_size=service.limits.body_bytes,
        footer_links=[],
        show_error=False,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
    )
    (mounted,) = [route for route in app.routes if isinstance(route, Mount)]
    mounted.app = PageGate(mounted.app, files)
    return app


class _Mistaken:
    """Answers mistaken addresses and methods below /v1 as the REST interface does; the page, which
    is mounted at /, would in a form of its own. An ASGI application, for it takes every method,
    TRACE and unknown ones too."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        matches = [route.matches(scope)[0] for route in scope["app"].routes]
        raise HTTPException(405 if Match.PARTIAL in matches else 404)


class _Server(uvicorn.Server):
    """Calls `announce` when it listens. Raises `UserError` if another has taken the port since."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets is not None
        try:
            await super().startup(sockets)
        except OSError as error:
            await self.lifespan.shutdown()
            host, port = sockets[0].getsockname()[:2]
            raise no_port(host, port, error) from error
        self._announce()


def run(app: FastAPI, bound: socket.socket, announce: Callable[[], None]) -> None:
    """Listens and serves until SIGINT or SIGTERM, and finishes the requests at work. In the main
    thread.

    `announce` is called when clients can connect and either signal ends it cleanly.

    Raises `UserError` if another program has begun to listen at the address.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
    )
    # uvicorn passes signals on once it is done; whoever called may then still have to clean up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        _Server(config, announce).run(sockets=[bound])
