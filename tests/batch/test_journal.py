from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from cascade_clip.batch.journal import Journal, JournalEntry
from cascade_clip.batch.segments import Segment
from cascade_clip.batch.settings import difference, settings_of
from cascade_clip.batch.task import Background
from cascade_clip.checkpoint.options import RunOptions
from cascade_clip.checkpoint.source import ModelSource
from cascade_clip.io.results import without_results

ENDS_OF_LINES = "a\u2028b\u2029c\x85d\x0ce"
"""What `str.splitlines` takes for ends of lines, and file names may hold."""


def test_names_may_hold_what_looks_like_an_end_of_line(tmp_path: Path) -> None:
    source = f"/photos/{ENDS_OF_LINES}.png"
    entry = JournalEntry(ENDS_OF_LINES, source, "1-1", ("overlay",), 4, 4, 0.5, {})
    path = tmp_path / "segmented.jsonl"
    Journal(path, {"model": "m"}).add(entry)
    assert Journal(path, {"model": "m"}).entries == {ENDS_OF_LINES: entry}
    result = tmp_path / f"{ENDS_OF_LINES}-overlay.png"
    assert without_results([result], tmp_path) == []


def test_segments_are_kept_with_their_entries(tmp_path: Path) -> None:
    def segment(area: int) -> Segment:
        return Segment(0, 0.5, area, (0, 0, area, 1), {"size": [1, 9], "counts": "09"})

    path = tmp_path / "labelled.jsonl"
    entries = [
        JournalEntry(name, f"/{name}.png", "1-1", ("coco",), 4, 4, 0.5, {}) for name in "abc"
    ]
    first = Journal(path, {"model": "m"})
    for entry, segments in zip(entries, ([segment(1), segment(2)], [], None), strict=True):
        first.add(entry, segments)
    first.add(replace(entries[0], formats=("overlay",)))  # another format of what is there
    first.add(replace(entries[1], stamp="2-2"), [segment(3)])
    for journal in (first, Journal(path, {"model": "m"})):
        assert journal.entries["a"].formats == ("coco", "overlay")
        found = list(journal.segments("cba"))
        assert found == [None, (segment(3),), (segment(1), segment(2))]
        journal.add(entries[2])
    assert len(path.read_text().splitlines()) == 1 + 3 + 1


def test_names_that_are_no_utf8_come_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    entry = JournalEntry(name, f"/{name}.png", "1-1", ("overlay",), 4, 4, 0.5, {})
    Journal(tmp_path / "j", {"model": "m"}).add(entry)
    assert Journal(tmp_path / "j", {"model": "m"}).entries == {name: entry}


def test_a_setting_of_null_is_not_one_left_out() -> None:
    source, names, none = ModelSource(clip="ViT-B-16/openai"), (("cat",),), Background()
    plain, null = (
        settings_of(source, names, none, RunOptions(inference=settings))
        for settings in ({}, {"long_side": None})
    )
    assert difference(plain, null) == "inference.long_side left out, now it is null"
    assert difference(null, plain) == "inference.long_side null, now it is left out"


def test_a_flag_is_another_setting_than_a_threshold_of_one() -> None:
    assert difference({"background": True}, {"background": True}) is None
    told = difference({"background": True}, {"background": 1.0})
    assert told == "background True, now it is 1.0"
