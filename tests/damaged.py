"""Files that decoders stumble over."""

from __future__ import annotations

import io

from PIL import Image


def damaged_avif() -> bytes:
    """A picture whose decoder raises RuntimeError, which is no kind of OSError."""
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24), (9, 200, 30)).save(buffer, "AVIF")
    return buffer.getvalue()[:-30] + bytes(30)
