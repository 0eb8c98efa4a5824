"""What somebody may have meant who mistyped a name. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


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
