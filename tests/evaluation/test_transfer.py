"""What counts as seen when a model meets the classes of another data set."""

from __future__ import annotations

from cascade_clip.data.class_lists import load_class_list
from cascade_clip.data.classes import ClassSet
from cascade_clip.evaluation.transfer import judge

COCO = load_class_list("coco-stuff").class_set()
VOC = load_class_list("voc20").class_set()


def test_on_its_own_classes_the_split_decides() -> None:
    judgement = judge(VOC, VOC, "inductive")
    assert judgement.classes == VOC
    assert judgement.meaning == "S, U: mIoU of seen, unseen classes"


def test_coco_stuff_to_voc_goes_by_name() -> None:
    judgement = judge(VOC, COCO, "inductive")
    # Cow is unseen in COCO-Stuff, which has the other four under other names.
    assert judgement.classes.unseen == ("aeroplane", "cow", "motorbike", "sofa", "tvmonitor")
    assert "15 classes whose names were trained on, and of the 5 others" in judgement.meaning
    assert "own split" not in judgement.meaning
    assert judgement.classes.prompts == VOC.prompts


def test_prompts_count_as_names() -> None:
    nicer = load_class_list("voc20").class_set(synonyms=True)
    data = ClassSet(("pottedplant", "television"), in_prompts=("plant in a pot", "TV monitor"))
    # pottedplant and tvmonitor are unseen in VOC; dining table is seen under its nicer name.
    assert judge(data, nicer, "inductive").classes.seen == ()
    assert judge(data, nicer, "full").classes.unseen == ()
    assert judge(ClassSet(("dining tables", "x")), nicer, "inductive").classes.unseen == ("x",)


def test_full_supervision_knows_all_names() -> None:
    assert judge(VOC, COCO, "full").classes.unseen == (
        "aeroplane", "motorbike", "sofa", "tvmonitor",
    )  # fmt: skip
    assert judge(VOC, VOC, "full").classes == VOC  # beside the other settings, the split stays


def test_another_split_of_the_same_classes_is_that_of_the_training() -> None:
    listed = load_class_list("context59")
    standard, released = listed.class_set(), listed.class_set("released")
    judgement = judge(standard, released, "inductive")
    assert set(judgement.classes.unseen) == set(released.unseen)
    assert "49 classes whose names were trained on" in judgement.meaning


def test_no_name_or_every_name_known() -> None:
    letters, seen = ClassSet(("a", "b"), ("b",)), ClassSet(("sky", "sea"))
    nothing = judge(letters, seen, "inductive")
    assert (nothing.classes.seen, nothing.classes.unseen) == ((), ("a", "b"))
    assert nothing.meaning.startswith("no class name was trained on: U is mIoU")
    everything = judge(ClassSet(("Seas", "sky")), seen, "inductive")
    assert everything.classes.unseen == ()
    assert everything.meaning.startswith("all class names were trained on: S is mIoU")


def test_the_same_division_as_the_data_says_so() -> None:
    data = ClassSet(("sky", "boat"), ("boat",))
    judgement = judge(data, ClassSet(("boat", "sky", "cat"), ("boat",)), "inductive")
    assert judgement.classes.unseen == ("boat",)
    assert judgement.meaning.endswith("(the data's own split)")
