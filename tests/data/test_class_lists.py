"""Class lists: those of the papers, and how a user's own are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cascade_clip.data.class_lists import (
    ClassList,
    load_class_list,
    read_class_list,
    read_splits,
)
from cascade_clip.errors import UserError

BUILT_IN = {"voc20": 20, "context59": 59, "coco-stuff": 171}
PUBLISHED = {
    "voc20": (20, 30), "voc21": (21, 56), "context59": (59, 59), "context60": (60, 60),
    "coco-object": (81, 113), "coco-stuff": (171, 171), "cityscapes": (19, 19),
    "ade20k": (150, 150),
}  # fmt: skip
"""Classes and names in SCLIP's lists."""


@pytest.mark.parametrize(("name", "classes"), BUILT_IN.items())
def test_built_in_lists(name: str, classes: int) -> None:
    listed = load_class_list(name)
    assert len(listed.names) == len(listed.raw_ids) == classes
    assert list(listed.raw_ids) == sorted(listed.raw_ids)  # the owner's order is kept
    for split in listed.splits:
        plain, nicer = listed.class_set(split), listed.class_set(split, synonyms=True)
        assert set(plain.seen) | set(plain.unseen) == set(listed.names)
        assert not set(plain.seen) & set(plain.unseen)
        assert plain.prompts == listed.names != nicer.prompts
        assert nicer.names == plain.names


def test_the_published_splits() -> None:
    voc = load_class_list("voc20").class_set()
    assert voc.unseen == ("pottedplant", "sheep", "sofa", "train", "tvmonitor")
    assert voc.unseen_indices == (15, 16, 17, 18, 19)
    coco = load_class_list("coco-stuff").class_set()
    # The indices of the released configurations of ZegCLIP and Cascade-CLIP.
    assert coco.unseen_indices == (
        19, 23, 28, 29, 36, 51, 76, 88, 94, 112, 133, 136, 137, 157, 160,
    )  # fmt: skip
    assert set(coco.unseen) == {
        "cow", "giraffe", "suitcase", "frisbee", "skateboard", "carrot", "scissors", "cardboard",
        "clouds", "grass", "playingfield", "river", "road", "tree", "wall-concrete",
    }  # fmt: skip


def test_context_has_two_splits_that_share_four_names() -> None:
    listed = load_class_list("context59")
    assert list(listed.names) == sorted(listed.names)
    standard, released = listed.class_set(), listed.class_set("released")
    # The released configuration's indices, read in the order of its own labels.
    assert released.unseen_indices == (0, 2, 3, 7, 9, 13, 17, 19, 31, 37)
    # The same indices in an order that begins with VOC's give names of the standard split.
    voc_first = load_class_list("voc20").names
    assert {"aeroplane", "bird", "boat", "cat", "cow"} <= set(standard.unseen)
    assert {voc_first[i] for i in (0, 2, 3, 7, 9, 13, 17, 19)} <= set(standard.unseen)
    assert len(standard.unseen) == len(released.unseen) == 10
    assert set(standard.unseen) & set(released.unseen) == {"aeroplane", "boat", "cow", "keyboard"}


def test_coco_stuff_leaves_out_the_labels_without_pictures() -> None:
    listed = load_class_list("coco-stuff")
    unused = set(range(182)) - set(listed.raw_ids)
    assert unused == {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
    by_name = dict(zip(listed.names, listed.raw_ids, strict=True))
    # Labels of labels.txt, less one: things, then stuff from 91 on.
    assert (by_name["person"], by_name["stop sign"], by_name["toothbrush"]) == (0, 12, 89)
    assert (by_name["banner"], by_name["grass"], by_name["wood"]) == (91, 123, 181)


def test_context_labels_among_the_459() -> None:
    listed = load_class_list("context59")
    by_name = dict(zip(listed.names, listed.raw_ids, strict=True))
    assert (by_name["aeroplane"], by_name["pottedplant"], by_name["wood"]) == (2, 308, 458)


@pytest.mark.parametrize(("name", "counts"), PUBLISHED.items())
def test_published_names_of_methods_without_training(name: str, counts: tuple[int, int]) -> None:
    listed = load_class_list(name)
    sclip, clearclip = listed.class_set(names="sclip"), listed.class_set(names="clearclip")
    assert (len(sclip.groups), len(sclip.class_of_name)) == counts
    assert len(clearclip.class_of_name) == counts[0] == len(listed.raw_ids)  # one name each
    assert sclip.names == listed.names == sclip.prompts  # trained models keep theirs
    assert sclip.background == ("background" in listed.names)
    assert listed.class_set().groups == tuple((name,) for name in listed.names)


def test_names_that_several_classes_share_and_glued_ones() -> None:
    coco = load_class_list("coco-object").class_set(names="sclip")
    asked = [name for group in coco.groups for name in group]
    beds = [coco.names[c] for name, c in zip(asked, coco.class_of_name, strict=True)
            if name == "bed"]  # fmt: skip
    assert beds == ["background", "bed"]
    assert coco.groups[1][-2:] == ("person in jacket", "body")
    glued = {"cityscapes": "trafficsign", "ade20k": "chestofdrawers", "coco-stuff": "stopsign"}
    for name, word in glued.items():
        assert (word,) in load_class_list(name).class_set(names="sclip").groups
    assert "hot dog" in asked  # COCO-Object's names aren't glued
    assert load_class_list("voc20").class_set(names="clearclip").groups[3] == ("ship",)


@pytest.mark.parametrize(
    ("background", "plain", "labels"),
    [
        ("voc21", "voc20", range(21)),
        ("context60", "context59", [0, *load_class_list("context59").raw_ids]),
        ("coco-object", "coco-stuff", [255, *load_class_list("coco-stuff").raw_ids[:80]]),
    ],
)
def test_background_comes_before_the_classes(
    background: str, plain: str, labels: Sequence[int]
) -> None:
    listed, others = load_class_list(background), load_class_list(plain).names
    assert listed.background
    assert listed.names == ("background", *others[: len(listed.names) - 1])
    assert list(listed.raw_ids) == list(labels)


def test_labels_of_cityscapes_and_ade20k() -> None:
    city, ade = load_class_list("cityscapes"), load_class_list("ade20k")
    by_name = dict(zip(city.names, city.raw_ids, strict=True))
    assert (by_name["road"], by_name["pole"], by_name["bus"], by_name["train"]) == (7, 17, 28, 31)
    assert city.names.index("bicycle") == 18 and by_name["bicycle"] == 33
    assert ade.raw_ids == tuple(range(1, 151))
    assert (ade.names[0], ade.names[12], ade.names[149]) == ("wall", "person", "flag")


def test_ade20k_and_context_in_full() -> None:
    ade, context = load_class_list("ade847"), load_class_list("context459")
    by_name = dict(zip(ade.names, ade.raw_ids, strict=True))
    assert (len(ade.names), len(set(ade.raw_ids))) == (847, 847)
    assert (by_name["wall"], by_name["building"], by_name["adding machine"]) == (2978, 312, 3148)
    assert (by_name["flowerpot"], by_name["pot"]) == (1981, 1974)  # one is "pot, flowerpot"
    assert context.raw_ids == tuple(range(1, 460))
    frequent = load_class_list("context59")
    assert tuple(context.names[number - 1] for number in frequent.raw_ids) == frequent.names


def test_a_plain_list_and_the_full_form(tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text("[sea, motor boat, cat]")
    assert read_class_list(path).class_set().names == ("sea", "motor boat", "cat")
    path.write_text(
        "names: [sea, boat, cat]\n"
        "splits: {standard: {unseen: [cat]}, hard: {unseen: [sea, boat]}}\n"
        "synonyms: {sea: sea water}\n"
        "vocabularies: {many: {sea: [sea, Ocean]}}\n"
        "background: true\n"
    )
    listed = read_class_list(path)
    assert listed.class_set(names="many").groups == (("sea", "Ocean"), ("boat",), ("cat",))
    assert listed.class_set(names="many").class_of_name == (0, 0, 1, 2)
    assert listed.class_set(synonyms=True).groups == (("sea water",), ("boat",), ("cat",))
    assert listed.class_set().background
    assert listed.class_set().unseen == ("cat",)
    classes = listed.class_set("hard", synonyms=True)
    assert (classes.seen, classes.prompts) == (("cat",), ("sea water", "boat", "cat"))


def test_both_forms_of_a_split_file(tmp_path: Path) -> None:
    path = tmp_path / "split.yaml"
    path.write_text("unseen: [cat]")
    assert read_splits(path) == {"standard": ("cat",)}
    path.write_text("splits: {a: {unseen: [cat]}, b: {unseen: []}}")
    assert read_splits(path) == {"a": ("cat",), "b": ()}


def test_an_unknown_split_lists_those_there_are() -> None:
    with pytest.raises(UserError, match=r"unknown split 'hard'.*; there are standard, released"):
        load_class_list("context59").class_set("hard")


def test_unknown_names_list_those_there_are() -> None:
    with pytest.raises(UserError, match=r"'sclpi' \(data\.names\).* label, sclip, clearclip; did"):
        load_class_list("voc21").class_set(names="sclpi")
    with pytest.raises(UserError, match=r"'sclip' \(data\.names\); .* has label$"):
        ClassList(("a", "b")).class_set(names="sclip")


def test_synonyms_that_are_not_there_are_an_error() -> None:
    with pytest.raises(UserError, match="has none"):
        ClassList(("a", "b")).class_set(synonyms=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: [a, b]\nsplits: {x: {unseen: [c]}}", "split 'x': unseen c: not among"),
        ("names: [a, b]\nsplits: {x: {unseen: [a, b]}}", "split 'x': every class is unseen"),
        ("names: [a, b]\nsplits: {x: {seen: [a]}}", "splits.x.unseen is missing"),
        ("names: [a, b]\nsynonyms: {c: d}", "synonyms for c: not among the classes a, b"),
        ("names: [a, b]\nsynonyms: {a: B}", "names in prompts must not repeat, got 'B' and 'b'"),
        ("names: [a, b]\nvocabularies: {x: {c: [d]}}", "vocabulary 'x' for c: not among"),
        ("names: [a, b]\nvocabularies: {x: {a: []}}", "vocabulary 'x': .* a name or more for"),
        ("names: [a, b]\nvocabularies: {x: {a: [' ']}}", "vocabulary 'x': .* not be empty"),
        ("names: [a, b]\nvocabularies: {x: {a: [c, C]}}", "names of one class must not repeat"),
        ("names: [a, b]\nvocabularies: {label: {a: [c]}}", "can't be called 'label'"),
        ("names: [a, b]\nraw_ids: [1, 1]", "one label for each of 2 classes, got 1"),
        ("names: [a, 1]", "expected text"),
        ("name: [a]", r"classes\.yaml must hold a list of names"),
        ("5", r"classes\.yaml must hold a list of names"),
        ("[", "not valid YAML"),
    ],
)
def test_lists_that_make_no_sense(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "classes.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_class_list(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["unsen: [a]", "unseen: a", "", "unseen: [a]\nsplits: {b: 3}"])
def test_split_files_that_make_no_sense(text: str, tmp_path: Path) -> None:
    path = tmp_path / "split.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"split\.yaml must hold `unseen: \[names\]`"):
        read_splits(path)
