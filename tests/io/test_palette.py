"""Class colours."""

from cascade_clip.io.palette import SLOTS, class_colours, lighter, to_hex

NAMES = ["cat", "house", "grass", "sky", "고양이", "🐱", "tree"]


def test_colours_do_not_depend_on_the_order_of_names() -> None:
    forward = dict(zip(NAMES, class_colours(NAMES), strict=True))
    backward = dict(zip(NAMES[::-1], class_colours(NAMES[::-1]), strict=True))
    assert forward == backward


def test_colours_are_distinct_as_long_as_there_are_slots() -> None:
    names = [f"class {i}" for i in range(len(SLOTS))]
    assert len(set(class_colours(names))) == len(SLOTS)


def test_a_name_keeps_its_colour_beside_others() -> None:
    alone = class_colours(["grass"])
    assert class_colours(["zebra", "grass", "apple"])[1:2] == alone


def test_many_names_still_get_colours() -> None:
    colours = class_colours([f"class {i}" for i in range(1000)])
    assert len(colours) == 1000
    assert len(set(colours)) > 900


def test_lighter_goes_to_white() -> None:
    assert lighter((0, 100, 255), 1.0) == (255, 255, 255)
    assert lighter((0, 100, 255), 0.0) == (0, 100, 255)


def test_hex() -> None:
    assert to_hex((1, 16, 255)) == "#0110ff"
