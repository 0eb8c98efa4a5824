import numpy as np

from cascade_clip.picturebook import SceneItem
from cascade_clip.picturebook.contents import describe, item_phrases, noun_phrase

CAT = SceneItem("cat", "orange", 0.2)
APPLE = SceneItem("apple", "red", 0.1)
GRASS = SceneItem("grass", None, 0.7)


def test_articles() -> None:
    assert noun_phrase("apple") == "an apple"
    assert noun_phrase("cat", "orange") == "an orange cat"
    assert noun_phrase("apple", "red") == "a red apple"
    assert noun_phrase("grass") == "grass"


def test_sentences_vary_and_name_everything() -> None:
    sentences = {describe(np.random.default_rng(i), [CAT, APPLE, GRASS]) for i in range(40)}
    assert len(sentences) > 10
    assert all({"cat", "apple", "grass"} <= set(s.replace(",", "").split()) for s in sentences)
    assert any("an orange cat" in s for s in sentences)
    assert any("a cat" in s for s in sentences)


def test_stuff_alone_makes_a_sentence() -> None:
    assert "grass" in describe(np.random.default_rng(0), [GRASS])


def test_phrases_come_once() -> None:
    twin = SceneItem("cat", "orange", 0.1)
    assert item_phrases([CAT, twin, GRASS]) == ["cat", "orange cat", "grass"]
