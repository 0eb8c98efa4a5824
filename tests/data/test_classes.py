"""Class names and their split."""

from __future__ import annotations

import pytest

from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError


def test_indices_follow_the_order_of_names() -> None:
    classes = ClassSet(("cat", "grass", "boat", "sky"), unseen=("boat", "cat"))
    assert classes.seen == ("grass", "sky")
    assert classes.seen_indices == (1, 3)
    assert classes.unseen_indices == (0, 2)


def test_without_a_split_all_are_seen() -> None:
    assert ClassSet(("a", "b")).seen_indices == (0, 1)
    assert ClassSet(("a", "b")).unseen_indices == ()


@pytest.mark.parametrize(
    ("names", "unseen", "message"),
    [
        ((), (), "at least one class name"),
        (("a", " "), (), "must not be empty"),
        (("a", "b", "a"), (), "class names must not repeat, got a"),
        (("a", "b"), ("b", "b"), "unseen names must not repeat"),
        (("a", "b"), ("c",), "unseen c: not among the classes a, b"),
        (("a",), ("a",), "every class is unseen"),
    ],
)
def test_bad_names(names: tuple[str, ...], unseen: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ClassSet(names, unseen)
