"""Results within pages of the documentation."""

from __future__ import annotations

from pathlib import Path

from cascade_clip.io.files import write_text


def fill(page: Path, name: str, text: str) -> None:
    """Writes `text` between the page's markers `<!-- NAME: begin -->` and `<!-- NAME: end -->`."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{page} lacks the markers {begin} and {end}")
    write_text(page, f"{before}{begin}\n\n{text}\n\n{end}{after}")
