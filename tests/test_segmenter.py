"""Pictures and class names to segmentations, on a tiny CLIP with random weights."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cascade_clip.checkpoint.save import save_model
from cascade_clip.clip.load import load_clip
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.picturebook import CLASSES, UNSEEN, draw_scene
from cascade_clip.segmenter import Segmenter

PICTURE = draw_scene(7, 0, (40, 50)).image


@pytest.fixture(scope="module")
def seg(tiny_overrides: list[str]) -> Segmenter:
    torch.manual_seed(0)
    recipe = load_recipe("cascade-clip/picturebook/inductive", tiny_overrides)
    clip = load_clip(recipe.model.clip)
    network = SegmentationNetwork(clip.visual, recipe.model)
    return Segmenter(network, clip, ClassSet(CLASSES, UNSEEN), recipe)


def test_labels_are_the_arg_max_of_the_scores(seg: Segmenter) -> None:
    result = seg(PICTURE, "cat, grass|lawn, sky", class_offsets={"sky": 0.01})
    assert result.labels.shape == PICTURE.shape[:2]
    assert result.labels.dtype == np.int16
    assert result.scores.shape == (3, *PICTURE.shape[:2])
    assert np.array_equal(result.scores.argmax(axis=0), result.labels)
    assert len(np.unique(result.labels)) > 1
    assert sum(entry.share for entry in result.legend) == pytest.approx(1.0)


def test_synonyms_are_one_class_with_their_highest_score(seg: Segmenter) -> None:
    apart = seg(PICTURE, ["cat", "grass", "lawn"])
    joined = seg(PICTURE, ["cat", "grass|lawn"])
    assert np.allclose(joined.scores[1], apart.scores[1:].max(axis=0))
    assert np.array_equal(joined.labels, np.minimum(apart.labels, 1))


@pytest.mark.parametrize("side", [(1, 1), (2, 300), (301, 3), (33, 47), (8, 8)])
def test_any_size_comes_back_at_its_size(seg: Segmenter, side: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*side, 3), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert seg(picture, "cat, grass").labels.shape == side


def test_a_very_long_picture_is_shrunk_with_a_warning(seg: Segmenter) -> None:
    with pytest.warns(UserWarning, match="10000 x 1 pixels .* shrunk") as caught:
        result = seg(np.zeros((1, 10_000, 3), np.uint8), "cat, grass")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert result.labels.shape == (1, 10_000)


def test_a_model_is_asked_with_the_words_of_its_training(seg: Segmenter) -> None:
    classes = ClassSet(("tvmonitor", "cat", "sky"), ("cat",), ("television", "cat", "blue sky"))
    nicer = Segmenter(seg.network, seg.clip, classes, seg.recipe)
    assert [entry.name for entry in nicer(PICTURE).legend] == ["television", "cat", "blue sky"]
    known = nicer.query("TV monitor, televisions, cat, sky, blue sky, water")
    assert known.seen == (True, True, False, True, True, False)


def test_trained_names_carry_the_offset_and_the_legend_says_so(seg: Segmenter) -> None:
    plain = seg(PICTURE, "Houses, zebra")
    assert [entry.seen for entry in plain.legend] == [("Houses",), ()]
    inference = seg.recipe.inference.model_copy(update={"seen_score_offset": 1.0})
    recipe = seg.recipe.model_copy(update={"inference": inference})
    lowered = Segmenter(seg.network, seg.clip, seg.trained_classes, recipe)
    assert (lowered(PICTURE, "Houses, zebra").labels == 1).all()
    cat = lowered(PICTURE, "cat, zebra")  # a class of the data set, but an unseen one
    assert cat.legend[0].seen == ()
    assert np.allclose(cat.scores, seg(PICTURE, "cat, zebra").scores)


def test_class_offsets_move_the_border(seg: Segmenter) -> None:
    assert seg(PICTURE, "cat, grass", class_offsets={"cat": 1}).mask("cat").all()
    assert not seg(PICTURE, "cat, grass", class_offsets={"cat": -1}).mask("cat").any()


def test_pixels_under_the_threshold_are_background(seg: Segmenter) -> None:
    plain = seg(PICTURE, "cat, grass", class_offsets={"cat": 0.02})
    threshold = float(np.median(plain.scores.max(axis=0)))
    cut = seg(PICTURE, "cat, grass", background=threshold)
    kept = cut.labels >= 0
    assert 0 < kept.mean() < 1
    assert np.array_equal(kept, cut.scores.max(axis=0) >= np.float32(threshold))
    assert seg(PICTURE, "cat, grass", background=1.0).mask("background").all()
    assert not seg(PICTURE, "cat, grass", background=0.0).mask("background").any()


def test_thresholds_look_at_scores_without_offsets(seg: Segmenter) -> None:
    plain = seg(PICTURE, "cat, grass")
    limit = float(np.median(plain.scores[0]))
    lifted = seg(PICTURE, "cat, grass", class_offsets={"cat": 1}, thresholds={"cat": limit})
    low = plain.scores[0] < np.float32(limit)
    assert 0 < low.mean() < 1
    assert np.mean(lifted.mask("background") == low) > 0.99  # rounding at the limit itself
    assert not lifted.mask("grass").any()
    high = seg(PICTURE, "cat, grass", class_offsets={"grass": 1}, thresholds={"cat": 1.0})
    assert high.mask("grass").all()  # no threshold of its own


def test_all_kinds_of_pictures_give_the_same(seg: Segmenter, tmp_path: Path) -> None:
    path = tmp_path / "scene.png"
    Image.fromarray(PICTURE).save(path)
    tensor = torch.from_numpy(PICTURE.copy()).permute(2, 0, 1)
    results = seg([path, str(path), Image.fromarray(PICTURE), PICTURE, tensor], "cat, grass")
    assert [result.name for result in results][:3] == ["scene", "scene", "picture-2"]
    assert results[0].file_name == "scene.png"
    for result in results[1:]:
        assert np.array_equal(result.labels, results[0].labels)


def test_a_batch_of_mixed_sizes_gives_what_its_pictures_give_alone(seg: Segmenter) -> None:
    sizes = [(40, 50), (33, 70), (40, 50), (40, 50), (33, 70), (20, 20), *[(40, 50)] * 9]
    pictures = [draw_scene(8, index, size).image for index, size in enumerate(sizes)]
    query = seg.query("cat, grass|lawn, sky", background=0.45)
    together = seg.segment_batch(pictures, query)
    assert [result.name for result in together][:2] == ["picture-0", "picture-1"]
    for picture, result in zip(pictures, together, strict=True):
        alone = seg.segment(picture, query)
        assert np.array_equal(result.image, picture)
        assert np.mean(result.labels == alone.labels) > 0.999  # rounding at equal scores
        assert [entry.share for entry in result.legend] == pytest.approx(
            [(result.labels == index).mean() for index in range(3)]
        )
    assert seg.segment_batch([], query) == []


def test_a_query_is_made_once_for_many_pictures(seg: Segmenter) -> None:
    query = seg.query("cat, grass", background=0.3)
    for index, picture in enumerate((PICTURE, PICTURE[::-1].copy())):
        result = seg.segment(picture, query, index)
        assert result.name == f"picture-{index}"
        assert np.array_equal(result.labels, seg(picture, "cat, grass", background=0.3).labels)


def test_templates_change_the_scores(seg: Segmenter) -> None:
    default = seg(PICTURE, "cat, grass")
    assert np.array_equal(default.scores, seg(PICTURE, "cat, grass", templates="single").scores)
    drawn = seg(PICTURE, "cat, grass", templates=["a drawing of a {}", "{}"])
    assert not np.allclose(default.scores, drawn.scores)


def test_all_classes_of_training_are_the_default(seg: Segmenter) -> None:
    assert seg(PICTURE).classes == CLASSES


def test_names_of_a_data_set_are_taken_as_they_are(seg: Segmenter) -> None:
    classes = ClassSet(("cat|dog", "sky, blue"), ("sky, blue",))
    model = Segmenter(seg.network, seg.clip, classes, seg.recipe)
    result = model(PICTURE)
    assert result.classes == classes.names
    assert [entry.seen for entry in result.legend] == [("cat|dog",), ()]


def test_names_in_any_script_and_many_of_them(seg: Segmenter) -> None:
    assert seg(PICTURE, ["고양이", "🐱", "قطة", "cat {}"]).classes[1] == "🐱"
    many = seg(PICTURE, [f"thing {i}" for i in range(700)])
    assert many.labels.max() < 700


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ""}, "no class names"),
        ({"classes": ["cat", "cat "]}, "twice"),
        ({"classes": "cat, " + "very " * 10_000 + "long"}, "too long"),
        ({"classes": "cat, \u200b"}, "empty class name"),
        ({"classes": "cat", "background": 1.5}, "between 0 and 1"),
        ({"classes": "cat", "thresholds": {"dog": 0.5}}, "'dog' is none of"),
        ({"classes": "cat", "thresholds": {"cat": float("nan")}}, "nan"),
        ({"classes": "cat", "class_offsets": {"cat": 7}}, "class_offsets of 'cat'"),
        ({"classes": "cat", "class_offsets": {"cat": None}}, "class_offsets of 'cat'"),
        ({"classes": "cat", "background": "0.5"}, "got '0.5'"),
        ({"classes": "cat", "background": None}, "between 0 and 1, got None"),
        ({"classes": "cat", "background": 1}, "write True, or 1.0"),
        ({"classes": "cat, Background", "background": True}, "rename the class"),
        ({"classes": "cat", "thresholds": 0.4}, "one threshold for all classes: background="),
        ({"classes": "cat", "thresholds": [0.4]}, "numbers by name"),
        ({"classes": "cat", "thresholds": {0: 0.4}}, "called by its name, got 0"),
        ({"classes": "cat", "thresholds": {"cat": "x"}}, "got 'x'"),
        ({"classes": "cat", "threshold": 0.4}, "did you mean 'background'"),
        ({"classes": "cat", "tresholds": {}}, "did you mean 'thresholds'"),
        ({"classes": "cat", "templates": 5}, "got 5"),
        ({"classes": "cat", "templates": [5]}, "templates are texts"),
        ({"classes": "cat", "templates": "mny"}, "did you mean 'many'"),
        ({"classes": 5}, "list of texts, .* got 5"),
        ({"classes": [PICTURE]}, "class names are texts"),
        ({"classes": "cat; sky"}, "by commas"),
        ({"classes": "dgo, dog", "thresholds": {"dgos": 0.1}}, "did you mean 'dgo'"),
        ({"classes": "cat", "templates": "a photo"}, "must hold {} once"),
        ({"classes": "cat", "templates": "a {name} {}"}, "must hold {} once"),
        ({"classes": "cat", "templates": []}, "no templates"),
    ],
)
def test_bad_requests_are_refused(seg: Segmenter, options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        seg(PICTURE, **options)  # type: ignore[call-overload]


def test_switches_of_any_library_and_names_from_anywhere(seg: Segmenter) -> None:
    expected = seg(PICTURE, "cat, grass", background=True).labels
    usual = seg.recipe.inference.threshold
    for background in (np.True_, usual, np.float64(usual)):
        given = seg(PICTURE, (name for name in ("cat", "grass")), background=background)
        assert np.array_equal(given.labels, expected)
    whole = seg(PICTURE, "cat, grass", background=np.False_)
    assert whole.background_share == 0


def test_pictures_and_names_in_the_wrong_place_are_told(seg: Segmenter) -> None:
    query = seg.query("cat")
    for call, message in (
        (lambda: seg("cat, sky", Image.fromarray(PICTURE)), "class names are one text with commas"),  # type: ignore[arg-type]
        (lambda: seg.segment(PICTURE, "cat"), "takes a query"),  # type: ignore[arg-type]
        (lambda: seg.segment_batch("a.png", query), "a list of pictures, got 'a.png'"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_a_result_can_be_pickled_without_its_model(seg: Segmenter) -> None:
    result = seg(PICTURE, "cat, grass")
    assert result.scores.shape[0] == 2
    data = pickle.dumps(result)
    assert len(data) < 5 * (PICTURE.nbytes + result.labels.nbytes)
    loaded = pickle.loads(data)
    assert np.array_equal(loaded.labels, result.labels) and loaded.legend == result.legend
    with pytest.raises(UserError, match="carries no scores"):
        _ = loaded.scores


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "mps"}, "no device 'mps' here; take 'cpu'"),
        ({"device": "meta"}, "no device 'meta'"),
        ({"device": None}, "no device None"),
        ({"precision": "bf61"}, "did you mean 'bf16'"),
        ({"max_windows": "x"}, "at least 1; got 'x'"),
        ({"compile": "yes"}, "compile is True, False or 'auto'"),
        ({"model": None}, "a model is a path or a name"),
    ],
)
def test_options_are_checked_before_a_model_is_read(
    options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        Segmenter.from_pretrained(**{"model": tmp_path / "none", **options})  # type: ignore[arg-type]


def test_a_saved_model_gives_the_same_labels(seg: Segmenter, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "model", seg.network, seg.recipe, seg.trained_classes, seg.clip)
    loaded = Segmenter.from_pretrained(folder)
    assert loaded.trained_classes.seen == seg.trained_classes.seen
    expected = seg(PICTURE, "cat, grass").scores
    assert np.allclose(loaded(PICTURE, "cat, grass").scores, expected, atol=1e-5)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        Segmenter.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(UserError, match=f"no device '{device}'"):
        Segmenter.from_pretrained(device=device)
