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


def test_what_prompts_say() -> None:
    classes = ClassSet(("pottedplant", "sky", "tvmonitor"), ("tvmonitor",))
    assert classes.prompts == classes.names
    assert classes.trained_names == ("pottedplant", "sky")
    nicer = ClassSet(classes.names, classes.unseen, ("potted plant", "sky", "TV"))
    assert nicer.prompts == ("potted plant", "sky", "TV")
    assert nicer.trained_names == ("pottedplant", "sky", "potted plant")
    with pytest.raises(UserError, match="1 prompt names for 2 classes"):
        ClassSet(("a", "b"), in_prompts=("a",))
    with pytest.raises(UserError, match="names in prompts must not repeat"):
        ClassSet(("tv", "tvmonitor"), in_prompts=("tv", "TV"))


@pytest.mark.parametrize(
    ("names", "unseen", "message"),
    [
        ((), (), "at least one class name"),
        (("a", " "), (), "must not be empty"),
        (("a", "\u200b"), (), "must not be empty"),
        (("a", "very " * 300), (), "too long: 1,500 characters"),
        (("a", "b", "a"), (), "class names must not repeat, got 'a' and 'a'"),
        (("a", "b"), ("b", "b"), "unseen names must not repeat"),
        (("a", "b"), ("c",), "unseen c: not among the classes a, b"),
        (("sea lion", "Sea  Lion"), (), "got 'sea lion' and 'Sea  Lion'"),
    ],
)
def test_bad_names(names: tuple[str, ...], unseen: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ClassSet(names, unseen)
