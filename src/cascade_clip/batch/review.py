"""A sheet to look labelled pictures through, the least certain first."""

from __future__ import annotations

import heapq
import io
from pathlib import Path

import numpy as np
from PIL import Image

from cascade_clip.batch.journal import JournalEntry
from cascade_clip.batch.labels import Labels
from cascade_clip.batch.segments import Segment
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


def write_review(labels: Labels, path: Path, count: int) -> Path:
    """Writes the page with the `count` least certain pictures. Raises `UserError`."""
    shown = heapq.nsmallest(count, labels.entries, key=lambda entry: entry.confidence)
    lead = (
        f"{len(shown)} of {len(labels.entries)} pictures, the least certain first: by the "
        "mIoU that their scores promise. Below each: its least certain segments."
    )
    legend = html.colour_legend(
        [
            (name, to_hex(colour))
            for name, colour in zip(labels.classes, labels.colours, strict=True)
        ]
    )
    segments = labels.journal.segments([entry.name for entry in shown])
    cards = [_card(*card, labels) for card in zip(shown, segments, strict=True)]
    sheet = html.cards(cards)
    write_text(path, html.page("Labels to review", lead, [legend, sheet]))
    return path


def _card(entry: JournalEntry, segments: tuple[Segment, ...] | None, labels: Labels) -> str:
    unsure = heapq.nsmallest(NAMED, segments or (), key=lambda segment: segment.confidence)
    named = ", ".join(f"{labels.classes[s.label]} {s.confidence:.2f}" for s in unsure)
    caption = f"{entry.name} · {entry.confidence:.2f} · {named or 'nothing found'}"
    try:
        return html.figure(_thumbnail(entry, labels), caption)
    except UserError as error:  # moved or changed since it was labelled
        return html.paragraph(f"{entry.name}: {error}")


def _thumbnail(entry: JournalEntry, labels: Labels) -> bytes:
    """The picture under its mask, as a JPEG file."""
    image = Image.fromarray(read_picture(Path(entry.source)))
    scale = min(1.0, THUMBNAIL / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    mask = Image.fromarray(read_mask(labels.mask(entry.name)).astype(np.int32))
    shown = np.array(mask.resize(size, Image.Resampling.NEAREST))
    shown[shown >= len(labels.classes)] = -1
    overlay = draw_overlay(np.asarray(image.resize(size)), shown, labels.colours)
    buffer = io.BytesIO()
    overlay.convert("RGB").save(buffer, "JPEG", quality=80)
    return buffer.getvalue()
