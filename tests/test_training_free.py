"""A segmenter on any CLIP, without training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import cascade_clip
from cascade_clip import Segmenter, UserError
from cascade_clip.class_names import parse_classes
from cascade_clip.export.bundle import FixedVocabulary
from cascade_clip.inference.predictor import small_classes
from cascade_clip.inference.query import PUBLISHED_BACKGROUND

PICTURE = np.random.RandomState(0).randint(0, 256, (50, 70, 3), np.uint8)


@pytest.fixture
def segmenter(tiny_clip_folder: Path) -> Segmenter:
    return Segmenter.from_clip(f"local-dir:{tiny_clip_folder}")


def test_every_pixel_takes_one_of_the_names(segmenter: Segmenter) -> None:
    result = segmenter(PICTURE, "cat, sofa|couch, wall")
    assert result.labels.shape == (50, 70)
    assert set(np.unique(result.labels)) <= {0, 1, 2}
    assert not any(entry.seen for entry in result.legend)
    scores = result.scores
    assert scores.shape == (3, 50, 70)
    # Softmax over all names: those of the classes' best names sum to less than one.
    assert np.all(scores.sum(axis=0) < 1 + 1e-5)
    assert np.array_equal(scores.argmax(axis=0), result.labels)


def test_a_single_name_is_held_against_the_usual_backgrounds(segmenter: Segmenter) -> None:
    alone = segmenter.query("cat")
    assert alone.behind == len(PUBLISHED_BACKGROUND)
    assert segmenter.query("cat", background_names=False).behind == 0
    assert segmenter.query("cat, dog").behind == 0
    assert segmenter.query("cat, dog", background=True).behind == len(PUBLISHED_BACKGROUND)
    assert segmenter.query("cat, Grass", background=True).behind == len(PUBLISHED_BACKGROUND) - 1
    assert np.all(segmenter(PICTURE, "cat", background_names=False).labels == 0)
    everything = segmenter(PICTURE, ["cat", *PUBLISHED_BACKGROUND])
    assert np.array_equal(segmenter(PICTURE, "cat").labels == 0, everything.labels == 0)


def test_background_by_names_and_by_threshold_go_together(segmenter: Segmenter) -> None:
    by_names = segmenter(PICTURE, "cat, dog", background_names=["sky", "wall"])
    both = segmenter(PICTURE, "cat, dog", background_names=["sky", "wall"], background=0.4)
    all_names = segmenter(PICTURE, "cat, dog, sky, wall")
    assert np.array_equal(by_names.labels >= 0, all_names.labels < 2)
    sure = all_names.scores.max(axis=0) >= 0.4
    assert np.array_equal(both.labels >= 0, (all_names.labels < 2) & sure)
    nothing = segmenter(PICTURE, "cat, dog", background=1.0)
    assert np.all(nothing.labels == -1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"background_names": ["sky", "CAT"]}, "'CAT' is a class and a name of the background"),
        ({"background_names": "sky"}, "True, False or a list of names"),
        ({"background_names": [" "]}, "empty class name"),
        ({"background_names": ["cat "]}, "'cat' is a class and a name of the background"),
        ({"background_names": [3]}, "names are texts"),
        ({"background_names": True, "classes": "background, cat"}, "no class can be called so"),
        ({"classes": "background"}, "no class can be called so"),
    ],
)
def test_wrong_backgrounds_are_told(
    segmenter: Segmenter, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        segmenter.query(**{"classes": "cat, dog", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("clip", "pretrained", "method", "message"),
    [
        (None, None, "clip", "ARCHITECTURE/TAG"),
        ("ViT-B-16", 3, "clip", "model.clip.pretrained: expected text, got 3"),
        ("picturebook", "openai", "clip", "comes with its weights"),
        ("ViT-B-16", Path("none.pt"), "clip", "none.pt"),
        ("picturebook", None, None, "a method is a name"),
        ("picturebook", None, {"kind": "naclip", "gaussian_sigma": 1e-30}, "at least 0.01"),
    ],
)
def test_wrong_values_in_python_are_told(
    clip: str, pretrained: str | Path, method: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Segmenter.from_clip(clip, pretrained, method=method)


def test_a_clip_may_be_a_path(tiny_clip_folder: Path) -> None:
    assert Segmenter.from_clip(tiny_clip_folder).clip.name == f"local-dir:{tiny_clip_folder}"


def test_methods_differ_and_settings_reach_them(tiny_clip_folder: Path) -> None:
    clip = f"local-dir:{tiny_clip_folder}"
    text = torch.nn.functional.normalize(torch.randn(3, 32), dim=-1)
    image = torch.randn(1, 3, 40, 24)
    with torch.no_grad():
        logits = [
            cascade_clip.load_network(clip=clip, method=method)(image, text).mask_logits
            for method in ("sc-clip", "naclip", {"kind": "naclip", "gaussian_sigma": 0.5})
        ]
    assert all(one.shape == (1, 3, 5, 3) for one in logits)
    assert not torch.allclose(logits[0], logits[1], atol=1e-3)
    assert not torch.allclose(logits[1], logits[2], atol=1e-4)


def test_what_needs_training_is_refused_in_a_line(segmenter: Segmenter, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name the classes"):
        segmenter(PICTURE)
    with pytest.raises(UserError, match="can be saved"):
        segmenter.save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match="did you mean 'naclip'"):
        Segmenter.from_clip("picturebook", method="naclp")


def test_small_classes_are_those_below_their_share_of_the_foreground() -> None:
    labels = torch.tensor([[-1, -1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [2, 2, -1, -1]])
    assert small_classes(labels, 4, 0.1).tolist() == [1, 3]
    assert small_classes(labels, 4, 0.0).tolist() == [3]
    assert small_classes(torch.full((2, 2), -1), 2, 0.1).tolist() == [0, 1]


def test_small_classes_lose_their_pixels_to_the_next_best(
    segmenter: Segmenter, tiny_clip_folder: Path
) -> None:
    names = ["cat", "house", "tree", "boat", "grass"]
    before = segmenter(PICTURE, names)
    counts = np.bincount(before.labels.ravel(), minlength=5) / before.labels.size
    share = float(np.sort(counts)[-2])
    after = Segmenter.from_clip(tiny_clip_folder, inference={"min_area": share})(PICTURE, names)
    kept = counts > share
    assert kept.sum() == 1
    assert np.all(kept[after.labels])
    by_score = np.where(kept[:, None, None], before.scores, -1).argmax(axis=0)
    assert np.array_equal(after.labels, by_score)


def test_a_file_of_a_single_class_is_asked_without_backgrounds(segmenter: Segmenter) -> None:
    classes, templates = parse_classes("cat"), segmenter.templates
    normalisation = segmenter.predictor.normalisation
    known = FixedVocabulary("tiny", None, normalisation, classes, templates, Path("cat.pt2"))
    exported = Segmenter(segmenter.network, known, None, segmenter.recipe, templates=templates)
    assert exported.query(background_names=None).behind == 0
    assert exported.query(background=True, background_names=None).thresholds is not None
