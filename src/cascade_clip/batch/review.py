"""A sheet to look labelled pictures through, the least certain first."""

from __future__ import annotations

import heapq
import io
from pathlib import Path

import numpy as np
from PIL import Image

from cascade_clip.batch.records import Record, Store
from cascade_clip.data.pairs import read_mask
from cascade_clip.errors import UserError
from cascade_clip.io.files import write_text
from cascade_clip.io.images import read_picture
from cascade_clip.io.overlay import draw_overlay
from cascade_clip.io.palette import to_hex
from cascade_clip.report import html

THUMBNAIL = 300
"""Longest side of a picture on the sheet, in pixels."""
NAMED = 4
"""Segments that are named below a picture."""


def write_review(store: Store, path: Path, count: int) -> Path:
    """Writes the page with the `count` least certain pictures. Raises `UserError`."""
    shown = heapq.nsmallest(count, store, key=lambda record: record.confidence)
    lead = (
        f"{len(shown)} of {len(store)} pictures, the least certain first: by the mean score of "
        "their pixels. Below each: its least certain segments."
    )
    legend = html.colour_legend(
        [(name, to_hex(colour)) for name, colour in zip(store.classes, store.colours, strict=True)]
    )
    sheet = html.cards([_card(record, store) for record in shown])
    write_text(path, html.page("Labels to review", lead, [legend, sheet]))
    return path


def _card(record: Record, store: Store) -> str:
    unsure = heapq.nsmallest(NAMED, record.segments, key=lambda segment: segment.confidence)
    named = ", ".join(f"{store.classes[s.label]} {s.confidence:.2f}" for s in unsure)
    caption = f"{record.name} · {record.confidence:.2f} · {named or 'nothing found'}"
    try:
        return html.figure(_thumbnail(record, store), caption)
    except UserError as error:  # moved or changed since it was labelled
        return html.paragraph(f"{record.name}: {error}")


def _thumbnail(record: Record, store: Store) -> bytes:
    """The picture under its mask, as a JPEG file."""
    image = Image.fromarray(read_picture(Path(record.picture)))
    scale = min(1.0, THUMBNAIL / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    mask = Image.fromarray(read_mask(store.mask(record.name)).astype(np.int32))
    labels = np.array(mask.resize(size, Image.Resampling.NEAREST))
    labels[labels >= len(store.classes)] = -1
    overlay = draw_overlay(np.asarray(image.resize(size)), labels, store.colours)
    buffer = io.BytesIO()
    overlay.convert("RGB").save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
