"""How messages are worded and where they go: notices, warnings, counts, mistyped names."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.metadata import requires
from typing import Any

from rich import console
from rich.text import Text

from cascade_clip.support.printable import printable, printable_lines


class Console(console.Console):
    """Shows strings, also those in tables, without what a terminal would obey or hide."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable_lines(text), **options)


def notice(message: str) -> None:
    """A yellow line on standard error that a user should notice while a command runs."""
    Console(stderr=True).print(
        printable(message), style="yellow", markup=False, highlight=False, soft_wrap=True
    )


def notice_list(what: str, lines: Sequence[str], shown: int, consequence: str) -> None:
    """`notice` for how many there are, with what that means, and the first few of them; nothing
    for none."""
    errors = Console(stderr=True)
    if lines:
        notice(f"{what}: {len(lines):,}{f'; {consequence}' if consequence else ''}")
    for line in lines[:shown]:
        errors.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    if len(lines) > shown:
        errors.print(f"  ... and {len(lines) - shown:,} more", highlight=False)


def warn_caller(message: str, category: type[Warning]) -> None:
    """As `warnings.warn`, at the first line outside this package."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith("cascade_clip."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level + 1)


@contextmanager
def errors_alone(*loggers: str) -> Iterator[None]:
    """Keeps what libraries log from the user, unless it is an error."""
    import logging  # late: commands start without it

    found = [logging.getLogger(name) for name in loggers]
    levels = [logger.level for logger in found]
    for logger in found:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(found, levels, strict=True):
            logger.setLevel(level)


def install_line(extra: str) -> str:
    """The command that installs what an extra of this package needs. It names the packages of the
    extra, not this one, so that it works wherever this one was installed from."""
    lines = [line for line in requires("cascade-clip") or () if f"extra == '{extra}'" in line]
    return f"pip install {' '.join(repr(line.partition(';')[0]) for line in lines)}"


def counted(number: int, thing: str) -> str:
    """`1 picture`, `2 pictures`, `2 batches`."""
    ending = "" if number == 1 else "es" if thing.endswith("ch") else "s"
    return f"{number} {thing}{ending}"


def some_of(parts: Sequence[str], most: int = 30, between: str = ", ") -> str:
    """Names for a message: all, or the first and how many there are besides."""
    if len(parts) <= most:
        return between.join(parts)
    rest = len(parts) - most
    return f"{between.join(parts[:most])} and {rest:,} other{'' if rest == 1 else 's'}"


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name most like `name`, apart from case; None if none is alike.

    With a `cutoff` of 0 there is always one, unless nothing is known.
    """
    by_form: dict[str, str] = {}
    for one in known:
        by_form.setdefault(one.casefold(), one)
    found = get_close_matches(name.casefold(), by_form, n=1, cutoff=cutoff)
    return by_form[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The end of a message about an unknown name: "; did you mean 'cat'?", or nothing."""
    found = nearest(name, known, cutoff)
    return "" if found is None else f"; did you mean '{found}'?"
