"""The settings text of mmcv: plain values are read, anything else is refused."""

from __future__ import annotations

import pytest

from cascade_clip.checkpoint.released.config import read_released_config
from cascade_clip.errors import UserError


def test_config_text_is_read_as_plain_values() -> None:
    text = "a = [1, (2, -3.5)]\nb = dict(c=range(2, 5), d={'e': None, 'f': list((1,))}, g='x')\n"
    text += "h = dict({'i.j': dict(k=1)}, l=2)\n"
    expected = {
        "a": [1, (2, -3.5)],
        "b": {"c": [2, 3, 4], "d": {"e": None, "f": [1]}, "g": "x"},
        "h": {"i.j": {"k": 1}, "l": 2},
    }
    assert read_released_config(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a = open('x')",
        "a = __import__('os').system('true')",
        "a = dict(**b)",
        "a = {**b}",
        "a = {[1]: 2}",
        "a = dict([(1, 2)])",
        "a = dict({}, {})",
        "a = b",
        "a = 1 + 1",
        "a = 9 ** 9 ** 9",
        "a = range(10 ** 9)",
        "a = range(1000000000)",
        "a = range('x')",
        "a = [i for i in range(3)]",
        "a.b = 1",
        "a, b = 1, 2",
        "del a",
        "f'{a}'",
        "a = f'{b}'",
        "def f(): pass",
        "a = (",
        "a = 1\x00",
    ],
)
def test_config_text_with_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="config"):
        read_released_config(text)
