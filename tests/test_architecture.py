"""Arrows point one way (docs/architecture.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import cascade_clip

PACKAGE = Path(str(cascade_clip.__file__)).parent
ABOVE_DATA = {"training", "inference", "evaluation", "analysis", "labelling", "serve", "cli"}


def imports(folder: str) -> Iterator[tuple[str, str]]:
    """Files of a folder with the parts of the package that they import."""
    for path in (PACKAGE / folder).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for part in re.findall(r"^\s*(?:from|import) cascade_clip\.(\w+)", text, re.MULTILINE):
            yield str(path.relative_to(PACKAGE)), part


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("config", ABOVE_DATA | {"data", "model", "clip"}),
        ("model", ABOVE_DATA | {"data", "clip"}),
        ("data", ABOVE_DATA),
        ("training", {"cli"}),
        ("inference", {"training", "cli"}),
    ],
)
def test_no_part_imports_what_stands_on_it(folder: str, forbidden: set[str]) -> None:
    found = set(imports(folder))
    assert found
    assert not [(file, part) for file, part in found if part in forbidden]
