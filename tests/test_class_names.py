"""Typed class names."""

import pytest

from cascade_clip.class_names import parse_classes, trained_names
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.support.printable import unshown


def test_a_string_and_a_list_read_the_same() -> None:
    typed = parse_classes(" cat,  sofa | couch ,wall, ")
    assert typed == parse_classes(["cat", "sofa|couch", "wall"])
    assert typed.groups == (("cat",), ("sofa", "couch"), ("wall",))
    assert typed.names == ("cat", "sofa", "couch", "wall")
    assert typed.class_of_name == (0, 1, 1, 2)
    assert typed.index(" Couch") == 1


def test_lines_separate_names_as_commas_do() -> None:
    assert parse_classes("cat\n sofa|couch,\r\n\nwall, sky\n").groups == (
        *(("cat",), ("sofa", "couch"), ("wall",), ("sky",)),
    )


def test_names_with_semicolons_are_refused_instead_of_taken_for_one() -> None:
    with pytest.raises(UserError, match=r"separate class names by commas.* got 'cat; sky'"):
        parse_classes("cat; sky")
    assert parse_classes(["cat; sky"]).names == ("cat; sky",)


def test_inner_white_space_is_one_space() -> None:
    assert parse_classes("potted \t plant").names == ("potted plant",)


@pytest.mark.parametrize("nothing", ["", " , ,", []])
def test_no_class_is_an_error(nothing: str | list[str]) -> None:
    with pytest.raises(UserError, match="no class names"):
        parse_classes(nothing)


@pytest.mark.parametrize("twice", ["cat, dog, Cat ", "sofa|couch, couch", "sofa|sofa"])
def test_a_name_given_twice_is_an_error(twice: str) -> None:
    with pytest.raises(UserError, match="twice"):
        parse_classes(twice)


@pytest.mark.parametrize(
    "blank",
    [
        *(["cat", "  "], ["sofa|"], "cat, |couch", ["\u200b"], ["\x00"]),
        *("cat,,dog", ",cat", "cat, dog,,", "sofa||couch"),
    ],
)
def test_an_empty_name_is_an_error(blank: str | list[str]) -> None:
    with pytest.raises(UserError, match="empty class name"):
        parse_classes(blank)


def test_a_very_long_name_is_refused_and_not_repeated() -> None:
    with pytest.raises(UserError, match="too long: 10,000 characters") as caught:
        parse_classes(["cat", "x" * 10_000])
    assert len(str(caught.value)) < 200


def test_too_many_classes_are_refused() -> None:
    with pytest.raises(UserError, match="at most"):
        parse_classes([f"thing {i}" for i in range(40_000)])


@pytest.mark.parametrize(
    ("typed", "trained", "expected"),
    [
        ("Cat", "cat", True),
        ("cats", "cat", True),
        ("cat", "cats", True),
        ("berries", "berry", True),
        ("buses", "bus", True),
        ("boxes", "box", True),
        ("potted plant", "pottedplant", True),
        ("playing-field", "playingfield", True),
        ("cattle", "cat", False),
        ("gras", "grass", False),
        ("lion", "cat", False),
        ("고양이", "cat", False),
    ],
)
def test_trained_names_ignore_case_spaces_and_plural(
    typed: str, trained: str, expected: bool
) -> None:
    assert trained_names([typed], [trained]) == [expected]


NFC, NFD = "caf\u00e9", "cafe\u0301"


def test_names_that_look_the_same_are_the_same() -> None:
    assert parse_classes([NFD]).names == (NFC,)
    with pytest.raises(UserError, match="twice"):
        parse_classes([NFC, NFD])
    assert parse_classes([NFC]).index(NFD) == 0
    assert trained_names([NFC], [NFD]) == [True]
    with pytest.raises(UserError, match="must not repeat"):
        ClassSet((NFC, NFD))


@pytest.mark.parametrize(
    "name",
    ["a\x1b[31mb", "a\u202eb", "ca\u200bt", "ca\u200dt", "\u2066cat", "caf\udce9", "a\x00b"],
)
def test_characters_that_cannot_be_seen_are_refused(name: str) -> None:
    for use in (lambda: parse_classes([name]), lambda: ClassSet((name,))):
        with pytest.raises(UserError, match="can't be seen") as caught:
            use()
        assert not unshown(str(caught.value))


def test_joiners_belong_to_words_and_emoji() -> None:
    names = ["می\u200cخواهم", "👩\u200d👧"]
    assert parse_classes(names).names == tuple(names)
    with pytest.raises(UserError, match="twice"):
        parse_classes(["می\u200cخواهم", "میخواهم"])
