"""Pieces of a self-contained HTML page: every function escapes its texts and returns a string."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape as escape_markup

from PIL import Image

from cascade_clip.support.printable import printable_lines

STYLE = """
:root { --paper: #ffffff; --card: #f6f7f9; --ink: #1f2328; --soft: #5f6771; --line: #dde1e6;
  --accent: #2f6db3; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --card: #1e2227; --ink: #e7eaee;
  --soft: #9aa4af; --line: #333a42; --accent: #7fb2ea; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 1160px; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .6rem; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .6rem; }
p { max-width: 76ch; margin: .5rem 0; }
p.note { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .85rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th { color: var(--soft); font-weight: 600; font-size: .85rem; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.best { font-weight: 700; }
figure { margin: 1rem 0; }
figure > img { max-width: min(100%, 940px); height: auto; border-radius: 10px; }
figcaption { color: var(--soft); font-size: .88rem; margin-top: .35rem; }
table.pictures { width: 100%; table-layout: fixed; min-width: 760px; }
table.pictures th, table.pictures td { text-align: center; padding: .25rem; border: 0;
  white-space: normal; vertical-align: top; }
table.pictures img { width: 100%; border-radius: 8px; display: block; }
table.pictures td span { color: var(--soft); font-size: .78rem; }
img.pixels { image-rendering: pixelated; }
.cards { display: flex; flex-wrap: wrap; gap: 1.2rem; }
.cards figure { flex: 1 1 300px; max-width: 380px; background: var(--card); padding: .8rem;
  border-radius: 12px; margin: 0; }
.cards img { width: 100%; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1rem; font-size: .88rem; margin: .6rem 0; }
.legend i { display: inline-block; width: .85em; height: .85em; border-radius: .25em;
  margin-right: .4em; vertical-align: -.05em; }
.legend b { font-weight: 600; }
details { background: var(--card); border-radius: 10px; padding: .7rem 1rem; margin: .8rem 0; }
summary { cursor: pointer; font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: .6rem 0;
  font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
code { background: var(--card); padding: .12em .4em; border-radius: 5px; font-size: .88em; }
"""


@dataclass(frozen=True)
class Shot:
    """A picture of a picture table, with a line below it. `pixels`: enlarged without smoothing."""

    image: Image.Image
    caption: str = ""
    pixels: bool = True


def page(title: str, lead: str, sections: Sequence[str]) -> str:
    """A whole document with nothing to load from elsewhere."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>"
        f"<h1>{escape(title)}</h1>{paragraph(lead)}\n" + "\n".join(sections) + "\n</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A headed part of the page."""
    return f"<section><h2>{escape(title)}</h2>" + "".join(parts) + "</section>"


def paragraph(text: str, note: bool = False) -> str:
    """Running text; `note` sets it smaller and softer."""
    kind = ' class="note"' if note else ""
    return f"<p{kind}>{escape(text)}</p>"


def command(text: str) -> str:
    """A command line."""
    return f"<p><code>{escape(text)}</code></p>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], best: bool = False) -> str:
    """Texts in rows; the first column is a name. `best` sets the highest number of each column in
    bold."""
    winners = _winners(rows) if best else set()
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = ""
    for i, row in enumerate(rows):
        kinds = [' class="best"' if (i, j) in winners else "" for j in range(len(row))]
        cells = "".join(f"<td{k}>{escape(cell)}</td>" for k, cell in zip(kinds, row, strict=True))
        body += f"<tr>{cells}</tr>"
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def picture_table(columns: Sequence[str], rows: Sequence[Sequence[Shot]]) -> str:
    """Pictures in rows under column heads."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = ""
    for row in rows:
        cells = "".join(
            f"<td>{image(shot.image, shot.caption or column, shot.pixels)}"
            f"<span>{escape(shot.caption)}</span></td>"
            for column, shot in zip(columns, row, strict=True)
        )
        body += f"<tr>{cells}</tr>"
    return f'<div class="scroll"><table class="pictures"><tr>{head}</tr>{body}</table></div>'


def figure(picture: Image.Image | bytes, caption: str) -> str:
    """A picture (or the bytes of a PNG or JPEG) with a caption."""
    return f"<figure>{image(picture, caption)}<figcaption>{escape(caption)}</figcaption></figure>"


def cards(figures: Sequence[str]) -> str:
    """Figures side by side."""
    return '<div class="cards">' + "".join(figures) + "</div>"


def image(picture: Image.Image | bytes, alt: str, pixels: bool = False) -> str:
    """An `img` that carries its own data; bytes are those of a PNG or JPEG file."""
    data = picture if isinstance(picture, bytes) else png_bytes(picture)
    mime = "jpeg" if data.startswith(b"\xff\xd8") else "png"
    encoded = base64.b64encode(data).decode("ascii")
    kind = ' class="pixels"' if pixels else ""
    return f'<img{kind} alt="{escape(alt)}" src="data:image/{mime};base64,{encoded}">'


def colour_legend(entries: Sequence[tuple[str, str]], strong: Sequence[str] = ()) -> str:
    """Names with colours (`#rrggbb`); those in `strong` in bold."""
    items = ""
    for name, colour in entries:
        shown = f"<b>{escape(name)}</b>" if name in strong else escape(name)
        items += f'<span><i style="background:{escape(colour)}"></i>{shown}</span>'
    return f'<div class="legend">{items}</div>'


def facts(values: Mapping[str, object]) -> str:
    """Names and values in two columns."""
    rows = [f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in values.items()]
    return "<dl>" + "".join(rows) + "</dl>"


def details(title: str, body: str) -> str:
    """A part that opens on a click."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _winners(rows: Sequence[Sequence[str]]) -> set[tuple[int, int]]:
    """(row, column) of the highest number of each column but the first."""
    winners: set[tuple[int, int]] = set()
    if len(rows) < 2:
        return winners
    for j in range(1, len(rows[0])):
        values = {i: float(row[j]) for i, row in enumerate(rows) if _is_number(row[j])}
        winners |= {(i, j) for i, value in values.items() if value == max(values.values())}
    return winners


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def escape(text: str) -> str:
    """The text as a page shows it, without what would hide in it or turn it around."""
    return escape_markup(printable_lines(text))
