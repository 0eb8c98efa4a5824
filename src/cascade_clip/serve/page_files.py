"""Files of the page: uploads, how much of them is kept, and downloads."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import tempfile
import threading
from html import escape
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, File, Request, UploadFile
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from cascade_clip.io.find import PICTURE_SUFFIXES, is_picture
from cascade_clip.serve.limits import Limits, Refused
from cascade_clip.serve.service import Service
from cascade_clip.serve.temporary import plain_file, sweep

UPLOADS = "uploads"
_PRIVATE = {"Cache-Control": "private"}
_OWNERS_BITS = {4: 32, 6: 64}
"""Leading bits of an address that identify its owner, by IP version: an IPv6 host has 2^64."""


class PageFiles:
    """Plain files below `folder`, and nothing else of this machine.

    When the folder or the uploads of one client outgrow `limits`, the oldest files go. All methods
    work on the disk: call them in a thread.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder.resolve()
        self.limits = limits
        self._making_room = threading.Lock()

    def find(self, name: object) -> Path:
        """The file that a browser names; raises `Refused` for any other than a plain one here."""
        file = plain_file(self.folder, name)
        if file is None:
            raise _no_file()
        return file

    def read(self, name: object) -> bytes:
        """Its bytes, at most one more than an upload may have; raises `Refused`."""
        try:
            with self.find(name).open("rb") as file:
                return file.read(self.limits.body_bytes + 1)
        except OSError as error:  # deleted meanwhile
            raise _no_file() from error

    def keep(self, data: bytes, suffix: str, client: str) -> Path:
        """Stores what a client, known by its address, has sent."""
        own = self.folder / UPLOADS / _client_name(client)
        own.mkdir(parents=True, exist_ok=True)
        file = Path(tempfile.mkdtemp(dir=own)) / f"picture{suffix}"
        file.write_bytes(data)
        with self._making_room:
            sweep(own, most_bytes=self.limits.client_bytes)
        self.make_room()
        return file

    def make_room(self) -> None:
        """Deletes the oldest files if there is too much."""
        with self._making_room:
            sweep(self.folder, most_bytes=self.limits.folder_bytes)


def file_routes(files: PageFiles, service: Service) -> APIRouter:
    """Uploads and downloads of the page, in the place of gradio's own routes, which take any bytes
    in any number."""
    routes = APIRouter(prefix="/gradio_api", include_in_schema=False)

    @routes.post("/upload")
    async def upload(
        request: Request, picture: Annotated[UploadFile, File(alias="files")]
    ) -> Response:
        client = request.client.host if request.client else ""
        suffix = Path(picture.filename or "").suffix.lower()
        try:
            with service.place():
                data = await picture.read()
                await service.read(data)
                suffix = suffix if suffix in PICTURE_SUFFIXES else ".png"
                kept = await asyncio.to_thread(files.keep, data, suffix, client)
        except Refused as refused:  # the page shows the answer as it is
            service.metrics.count_error("page", refused.code)
            return PlainTextResponse(escape(str(refused)), refused.status)
        return JSONResponse([str(kept)])

    @routes.get("/upload_progress")
    async def upload_progress() -> Response:
        return Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")

    @routes.api_route("/file={name:path}", methods=["GET", "HEAD"])
    async def file(name: str) -> Response:
        path = await asyncio.to_thread(files.find, name)
        if is_picture(path):
            return FileResponse(path, headers=_PRIVATE)
        return FileResponse(
            path, headers=_PRIVATE, media_type="application/octet-stream", filename=path.name
        )

    return routes


def _no_file() -> Refused:
    return Refused(404, "not_found", "the picture is no longer on the server; drop it again")


def _client_name(address: str) -> str:
    """A folder name for a client."""
    try:
        known = ipaddress.ip_address(address)
        network = ipaddress.ip_network((address, _OWNERS_BITS[known.version]), strict=False)
    except ValueError:
        return "unknown"
    return hashlib.sha256(str(network).encode()).hexdigest()[:16]
