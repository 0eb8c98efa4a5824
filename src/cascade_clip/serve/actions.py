"""What the page's clicks start: from what stands in its fields to what it shows."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from cascade_clip.class_names import TypedClasses
from cascade_clip.errors import UserError
from cascade_clip.io.images import RGBArray
from cascade_clip.segmentation import Segmentation
from cascade_clip.serve import views
from cascade_clip.serve.answers import index_png
from cascade_clip.serve.page_files import PageFiles
from cascade_clip.serve.service import ALL_STAGES, Ask, Service

MASKS, SCORES, STAGES = "masks", "scores", "stages"
"""The tabs of the page."""
SCORE_SIDE = 640
"""Longest side of the pictures that score maps are computed for, in pixels."""
_SOURCE = "page"


@dataclass(frozen=True)
class Shown:
    """The request whose result a browser shows."""

    file: str
    ask: Ask


class PageActions:
    """One method for each event; `files` takes what is made for download."""

    def __init__(self, service: Service, files: PageFiles) -> None:
        self.service = service
        self.files = files

    async def segment(
        self, picture: object, names: object, background: object, threshold: object
    ) -> list[Any]:
        """What is shown; masks, class table, both downloads, names for the score map.

        `picture` is gradio's description of an uploaded file; like the rest, untrusted.
        """
        with _as_messages():
            async with self.service.request(_SOURCE):
                if not (isinstance(picture, dict) and "path" in picture):
                    raise UserError("drop a picture first, or click one of the examples")
                if not (isinstance(names, str) and names.strip()):
                    raise UserError("type what to look for, e.g. cat, sofa|couch, wall")
                if not isinstance(threshold, int | float):
                    raise UserError("the threshold must be a number between 0 and 1")
                ask = self.service.ask(names, threshold=float(threshold) if background else None)
                file = picture["path"]
                image = await self._read(file)
                result = await self.service.segment(image, ask)
                shown = await asyncio.to_thread(self._show, result)
                note = self.service.note(image)
            if note:
                gr.Info(escape(note))
            return [Shown(file, ask), *shown]

    async def details(self, shown: Shown | None, tab: str, name: str | None) -> list[Any]:
        """Score map, its scale and the stages: what the open `tab` needs; the rest empty."""
        if shown is None or tab == MASKS:
            return [None, "", ""]
        if tab == SCORES:
            return [*await self.scores(shown, name), ""]
        return [None, "", await self.stages(shown)]

    async def scores(self, shown: Shown | None, name: str | None) -> tuple[RGBArray | None, str]:
        """The score map of one class, and its scale as HTML."""
        if shown is None or name is None:
            return None, ""
        with _as_messages():
            async with self.service.request(_SOURCE):
                typed = shown.ask.typed
                # No class depends on another, so the one alone has the same scores.
                ask = self.service.ask(TypedClasses((typed.groups[typed.index(name)],)))
                image = views.fit(await self._read(shown.file), SCORE_SIDE)
                result = await self.service.segment(image, ask, scores=True)
            scores = result.scores[0]  # (H, W)
            return views.score_picture(scores), views.score_legend(name, scores)

    async def stages(self, shown: Shown) -> str:
        """HTML: the result, and what each stage alone makes of the picture."""
        with _as_messages():
            async with self.service.request(_SOURCE):
                image = await self._read(shown.file)
                results = {
                    view: await self.service.segment(image, shown.ask, view=view)
                    for view in self.service.views
                }
                whole = results.pop(ALL_STAGES)
                return await asyncio.to_thread(views.compared, whole, results)

    async def _read(self, file: str) -> RGBArray:
        await asyncio.to_thread(self.files.make_room)
        return await self.service.read(await asyncio.to_thread(self.files.read, file))

    def _show(self, result: Segmentation) -> list[Any]:
        value, colours = views.annotated(result)
        folder = Path(tempfile.mkdtemp(dir=self.files.folder))
        mask, record = folder / "mask.png", folder / "coco.json"
        mask.write_bytes(index_png(result))
        record.write_text(json.dumps(result.to_coco(), ensure_ascii=False), encoding="utf-8")
        names = views.by_share(result)
        return [
            gr.AnnotatedImage(value, color_map=colours),
            views.class_table(result),
            gr.DownloadButton(value=str(mask), interactive=True),
            gr.DownloadButton(value=str(record), interactive=True),
            gr.Dropdown(choices=names, value=names[0]),
        ]


@contextmanager
def _as_messages() -> Iterator[None]:
    """Errors that a user can mend become a message on the page."""
    try:
        yield
    except UserError as error:
        raise gr.Error(escape(str(error)), print_exception=False) from error
