from __future__ import annotations

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_clip.support.printable import JOINERS, plain_file_name, printable, unshown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.png", "plain name.png"),
        ("고양이 café 🐱", "고양이 café 🐱"),
        (os.fsdecode(b"caf\xe9.png"), r"caf\xe9.png"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("two\nlines\u2028three", r"two\nlines\u2028three"),
        ("gnp\u202e.exe", r"gnp\u202e.exe"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # as it is written
        ("👩\u200d👧", "👩\u200d👧"),
        ("ca\u200dt", r"ca\u200dt"),
    ],
)
def test_what_can_not_be_shown_becomes_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert (plain_file_name(text) == text) == (shown == text)


@given(st.text(st.characters(), max_size=30))
def test_nothing_is_left_that_a_terminal_obeys_or_hides(text: str) -> None:
    for made in (printable(text), plain_file_name(text)):
        made.encode()
        kinds = {unicodedata.category(character) for character in made if character not in JOINERS}
        assert kinds.isdisjoint({"Cc", "Cf", "Cs", "Zl", "Zp"})
    assert not unshown(plain_file_name(text))
