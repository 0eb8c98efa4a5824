from __future__ import annotations

from pathlib import Path

from cascade_clip.batch.journal import Entry, Journal
from cascade_clip.io.results import without_results

ENDS_OF_LINES = "a\u2028b\u2029c\x85d\x0ce"
"""What `str.splitlines` takes for ends of lines, and file names may hold."""


def test_names_may_hold_what_looks_like_an_end_of_line(tmp_path: Path) -> None:
    entry = Entry(
        ENDS_OF_LINES, f"/photos/{ENDS_OF_LINES}.png", "1-1", ("overlay",), 4, 4, {}, None
    )
    Journal(tmp_path, {"model": "m"}).add(entry)
    assert Journal(tmp_path, {"model": "m"}).entries == {ENDS_OF_LINES: entry}
    result = tmp_path / f"{ENDS_OF_LINES}-overlay.png"
    assert without_results([result], tmp_path) == []
