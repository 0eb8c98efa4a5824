"""Names from elsewhere as text that is shown as it is: nothing in it is obeyed, hidden or turned
around. Imports nothing heavy."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls, marks without width (bidirectional ones among them), lone surrogates (the bytes of file
names that are not UTF-8), and what separates lines and paragraphs."""
JOINERS = "\u200c\u200d"
"""Between letters or emoji that are not ASCII they are part of how these are written."""


def unshown(text: str) -> list[int]:
    """Where a text holds characters that can't be shown."""
    return [
        place
        for place, character in enumerate(text)
        if unicodedata.category(character) in _UNSHOWN
        and not (character in JOINERS and _between_letters(text, place))
    ]


def printable(text: str) -> str:
    """One line in which such characters are escapes: `\\x1b`, `\\u2028`; bytes as `\\xe9`."""
    return _replaced(text, _escape)


def printable_lines(text: str) -> str:
    """`printable` for a text whose line breaks are its own."""
    return "\n".join(map(printable, text.split("\n")))


def plain_file_name(name: str) -> str:
    """The name for a new file that is made of another one's: `_` in their place."""
    return _replaced(name, lambda character: "_")


def _replaced(text: str, replacement: Callable[[str], str]) -> str:
    if text.isascii() and text.isprintable():
        return text
    characters = list(text)
    for place in unshown(text):
        characters[place] = replacement(text[place])
    return "".join(characters)


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) & 0xFF:02x}"
    return character.encode("unicode_escape").decode()


def _between_letters(text: str, place: int) -> bool:
    return 0 < place < len(text) - 1 and min(text[place - 1], text[place + 1]) > "\x7f"
