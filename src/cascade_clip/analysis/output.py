"""What every analysis leaves behind: a page, pictures, tables, and a summary in words."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from cascade_clip.io.files import write_text, write_whole
from cascade_clip.report import html, plots
from cascade_clip.report.sections import write_report
from cascade_clip.support.messages import counted

Row = Sequence[object]

CAUTION = (
    "The embedded CLIP was taught by captions of drawn scenes; it is not OpenAI's, and what "
    "holds for it need not hold for a CLIP of photographs."
)


Figures = tuple[str, str, str]
FIGURES_HEADER = ("", "value", "95 % interval")


@dataclass(frozen=True)
class Summary:
    """What an analysis found: measures by version or block, and single figures."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Texts; the first column is a name."""
    figures: tuple[Figures, ...]
    note: str = ""
    """What the numbers are, and which there are none of."""

    def sections(self) -> list[str]:
        """The summary as HTML."""
        return [
            html.section(
                self.title,
                html.table(self.header, self.rows),
                html.table(FIGURES_HEADER, self.figures) if self.figures else "",
                html.paragraph(self.note, note=True) if self.note else "",
            )
        ]


@dataclass(frozen=True)
class Setup:
    """What was analysed, for people who find the results later."""

    model: str
    data: str
    part: str
    pictures: int
    embedded_clip: bool

    @property
    def lead(self) -> str:
        """First words of a page."""
        words = f"{self.model} on {counted(self.pictures, 'picture')} of {self.data} ({self.part})."
        return f"{words} {CAUTION}" if self.embedded_clip else words


class Folder:
    """A folder of results, into which whole files are written.

    All methods raise `UserError` if a file can't be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def figure(self, name: str, figure: Figure) -> bytes:
        """Writes `NAME.png`; returns its bytes, for the page."""
        data = plots.png_of(figure)
        write_whole(self.path / f"{name}.png", lambda file: file.write_bytes(data))
        return data

    def table(self, name: str, header: Sequence[str], rows: Iterable[Row]) -> None:
        """Writes `NAME.csv`; undefined numbers are empty cells."""

        def write(path: Path) -> None:
            with path.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
                writer = csv.writer(file)
                writer.writerow(header)
                writer.writerows([_cell(value) for value in row] for row in rows)

        write_whole(self.path / f"{name}.csv", write)

    def summary(self, name: str, setup: Setup, summary: Summary, more: Mapping[str, Any]) -> None:
        """Writes `NAME.json`: what was analysed, tables, and `more` numbers."""
        content = {
            "setup": vars(setup),
            "header": summary.header,
            "rows": summary.rows,
            "figures": summary.figures,
            "note": summary.note,
            **more,
        }
        text = json.dumps(_plain(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        write_text(self.path / f"{name}.json", text)

    def page(self, name: str, title: str, setup: Setup, sections: Sequence[str]) -> Path:
        """Writes `NAME.html`."""
        return write_report(self.path / f"{name}.html", title, setup.lead, sections)


def points(value: float, digits: int = 1) -> str:
    """`+1.2` for 0.012, with the sign that people print; a dash for NaN."""
    if math.isnan(value):
        return "–"
    text = f"{100 * value:+.{digits}f}".replace("-", "−")
    return text if text.strip("+−0.") else text.strip("+−")


def between(low: float, high: float, digits: int = 1) -> str:
    """`−0.3 to +1.2` for an interval of a difference; a dash where too few were drawn from."""
    if math.isnan(low) or math.isnan(high):
        return "–"
    return f"{points(low, digits)} to {points(high, digits)}"


def _cell(value: object) -> object:
    return "" if isinstance(value, float) and math.isnan(value) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
