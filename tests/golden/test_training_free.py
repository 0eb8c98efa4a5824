"""Training-free methods equal their released code: features, averaged cosines, probabilities and
labels, on a tiny random CLIP (`tiny_clip.py`)."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.config.training_free import TrainingFreeSettings
from cascade_clip.inference.refine import Pamr
from cascade_clip.inference.scores import WindowLogits
from cascade_clip.inference.sliding import predict_windows
from cascade_clip.inference.windows import windows
from cascade_clip.model.training_free.network import TrainingFreeNetwork
from cascade_clip.model.training_free.outliers import find_outliers, outlier_factor
from tests.golden.tiny_clip import build_tiny_clip, draw_picture

TOLERANCE = 1e-5
MEAN, STD = (122.771, 116.746, 104.094), (68.501, 66.632, 70.323)
REDUCED = {"residual": False, "feed_forward": False}
FULL = {"residual": True, "feed_forward": True}
CLEARCLIPS_MASKCLIP = {"kind": "maskclip", "positions": "bicubic-factor"}
SC_CLIP_STEPS_OFF: dict[str, dict[str, Any]] = {
    "no_outlier_replacement": {"outlier_share": 0.0},
    "no_aggregation_before": {"aggregate_before": False},
    "no_similarity_attention": {"attention": "kk"},
    "no_kk_attention": {"attention": "similarity"},
    "no_class_token": {"class_token_weight": 0.0},
    "no_aggregation_after": {"aggregate_after": False},
    "no_multi_level": {"fusion_blocks": ()},
}
ALL_OFF = {key: value for off in SC_CLIP_STEPS_OFF.values() for key, value in off.items()}
METHODS: dict[str, dict[str, Any]] = {
    "vanilla/full": {"kind": "clip"},
    "vanilla/reduced": {"kind": "last-block", **REDUCED},
    "maskclip/own_quickgelu_eps1e-5": {"kind": "maskclip"},
    "maskclip/own_gelu_eps1e-6": {"kind": "maskclip"},
    "maskclip/clearclip_repo_full": CLEARCLIPS_MASKCLIP,
    "maskclip/clearclip_repo_reduced": CLEARCLIPS_MASKCLIP | REDUCED,
    "sclip/full": {"kind": "sclip"},
    "sclip/reduced": {"kind": "sclip", **REDUCED},
    "clearclip/reduced": {"kind": "clearclip"},
    "clearclip/full": {"kind": "clearclip", **FULL},
    "naclip/reduced": {"kind": "naclip"},
    "naclip/full": {"kind": "naclip", **FULL},
    "naclip/reduced_no_gaussian": {"kind": "naclip", "gaussian_sigma": None},
    "naclip/reduced_std1": {"kind": "naclip", "gaussian_sigma": 1.0},
    "resclip_rcs/naclip": {"kind": "resclip"},
    "resclip_rcs/naclip_lambda0.6": {"kind": "resclip", "correlation_weight": 0.6},
    "resclip_rcs/clearclip": {"kind": "resclip", "attention": "qq", "gaussian_sigma": None},
    "resclip_rcs/sclip": {"kind": "resclip", "attention": "qq+kk", "gaussian_sigma": None, **FULL},
    "resclip_rcs/vanilla": {"kind": "resclip", "attention": "qk", "gaussian_sigma": None, **FULL},
    "gem/default": {"kind": "gem"},
    "gem/temp10_iter2_depth4": {"kind": "gem", "temperature": 10, "iterations": 2, "depth": 4},
    "sc_clip/full": {"kind": "sc-clip"},
    "sc_clip/corrected_index": {"kind": "sc-clip"},
    "sc_clip/base_only": {"kind": "sc-clip", **ALL_OFF, "attention": "kk"},
    "sc_clip_rho0.03/full": {"kind": "sc-clip", "class_token_weight": 0.03},
}
for step, off in SC_CLIP_STEPS_OFF.items():
    METHODS[f"sc_clip/{step}"] = {"kind": "sc-clip", **off}
    if step != "no_class_token":
        METHODS[f"sc_clip_rho0.03/{step}"] = {"kind": "sc-clip", "class_token_weight": 0.03, **off}

STORED = load_file(Path(__file__).parent / "data" / "training_free.safetensors")
PICTURES = {"square": "square", "sq448": "large", "wide": "wide", "tall": "tall"}
FEATURES = [key for key in STORED if ".features.every" in key]


@cache
def network(method: str) -> TrainingFreeNetwork:
    clip = build_tiny_clip()
    if method == "maskclip/own_gelu_eps1e-6":
        clip = build_tiny_clip(quick_gelu=False, eps=1e-6)
    settings = TypeAdapter(TrainingFreeSettings).validate_python(METHODS[method])
    return TrainingFreeNetwork(clip.visual, settings).eval()


def normalised(picture: Any) -> Tensor:
    image = torch.as_tensor(picture).float()  # (H, W, 3)
    return ((image - torch.tensor(MEAN)) / torch.tensor(STD)).permute(2, 0, 1)[None]


def predict(method: str, picture: str, crop: int, stride: int, **options: Any) -> WindowLogits:
    image = normalised(STORED[f"picture/{picture}"])
    size = (image.shape[2], image.shape[3])
    places = windows(size, crop, stride)
    settings: dict[str, Any] = {"output_size": (240, 320), "logit_scale": 40.0, **options}
    return predict_windows(network(method), image, STORED["text_embeddings"], places, **settings)


def cosines(predicted: WindowLogits, **changes: Any) -> Tensor:
    """Averaged over windows, at the result's size: their softmax, undone up to a constant."""
    predicted = dataclasses.replace(predicted, logit_scale=1.0, **changes)
    logs = all_scores(predicted).log()  # (K, H, W)
    return logs - logs.mean(dim=0)


def all_scores(predicted: WindowLogits) -> Tensor:
    return torch.cat([scores for _, scores in predicted.scores(0)])  # (K, H, W)


def by_class(scores: Tensor) -> Tensor:
    names = STORED["class_of_name"]
    return torch.stack([scores[names == index].amax(dim=0) for index in range(6)])


def assert_equals_stored(actual: Tensor, key: str, every: int) -> None:
    stored = STORED[f"{key}.every{every}"]
    torch.testing.assert_close(actual[:, ::every, ::every], stored, atol=TOLERANCE, rtol=0)


def assert_labels(scores: Tensor, threshold: float, key: str) -> None:
    best = scores.max(dim=0)
    labels = best.indices.masked_fill(best.values < threshold, 0)
    first, second = scores.topk(2, dim=0).values
    clear = (first - second > 1e-5) & ((best.values - threshold).abs() > 1e-5)
    clear, labels = clear[::3, ::3], labels[::3, ::3]
    assert clear.float().mean() > 0.99
    assert torch.equal(labels[clear], STORED[f"{key}.labels.every3"].long()[clear])


@pytest.mark.parametrize("key", FEATURES)
def test_features_equal_the_released_code(key: str) -> None:
    method, variant, rest = key.split("/")
    picture, _, every = rest.split(".")
    image = normalised(draw_picture(PICTURES[picture]))
    with torch.no_grad():
        features, _ = network(f"{method}/{variant}").features(image)
    kept = features[0, :: int(every.removeprefix("every"))]
    torch.testing.assert_close(kept, STORED[key], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    "method", sorted({k.partition("/slide")[0] for k in STORED if "/slide" in k})
)
def test_scores_and_labels_equal_the_released_code(method: str) -> None:
    predicted = predict(method, "resized_336x448", 224, 112)
    averaged = cosines(predicted, output_size=(336, 448))
    stored = STORED[f"{method}/slide.window_logits.every16"]
    expected = stored - stored.mean(dim=0)
    torch.testing.assert_close(averaged[:, ::16, ::16], expected, atol=TOLERANCE, rtol=0)
    if f"{method}/slide.scale40.name_probabilities.every16" not in STORED:
        return
    scores = all_scores(predicted)
    assert_equals_stored(scores, f"{method}/slide.scale40.name_probabilities", 16)
    for threshold in (0.0, 0.1):
        key = f"{method}/slide.scale40" + (f"_thr{threshold}" if threshold else "")
        if f"{key}.labels.every3" in STORED:
            assert_labels(by_class(scores), threshold, key)


@pytest.mark.parametrize(
    ("method", "scale", "threshold", "key"),
    [
        ("sclip/full", 65, 0.1, "voc21_scale65_thr0.1_area0.1"),
        ("sclip/full", 50, 0.1, "scale50_thr0.1"),
        ("sclip/full", 40, 0.6, "scale40_thr0.6_area0.1"),
        ("sc_clip/full", 55, 0.35, "object_scale55_thr0.35"),
        ("sc_clip/full", 50, 0.15, "voc21_scale50_thr0.15_area0.1"),
        ("sc_clip_rho0.03/full", 50, 0.3, "scale50_thr0.3_area0.1"),
    ],
)
def test_protocols_of_data_sets_equal_the_released_code(
    method: str, scale: int, threshold: float, key: str
) -> None:
    predicted = predict(method, "resized_336x448", 224, 112, logit_scale=float(scale))
    scores = by_class(all_scores(predicted))
    if key.endswith("_area0.1"):
        scores[small_classes(scores.argmax(dim=0), 0.1)] = 0
    assert_equals_stored(scores, f"{method}/slide.{key}.class_scores", 16)
    assert_labels(scores, threshold, f"{method}/slide.{key}")


def small_classes(labels: Tensor, share: float) -> list[int]:
    counts = labels.flatten().bincount(minlength=6)
    return [c for c in range(1, 6) if counts[c] <= share * counts[1:].sum()]


def test_clearclips_windows_equal_the_released_code() -> None:
    predicted = predict("clearclip/reduced", "resized_448x597", 448, 224, logit_scale=50.0)
    stored = STORED["clearclip/reduced/own.window_logits.every16"]
    averaged = cosines(predicted, output_size=(448, 597))[:, ::16, ::16]
    torch.testing.assert_close(averaged, stored - stored.mean(dim=0), atol=TOLERANCE, rtol=0)
    scores = by_class(all_scores(predicted))
    assert_equals_stored(scores, "clearclip/reduced/own.scale50.class_scores", 16)
    assert_labels(scores, 0.5, "clearclip/reduced/own.scale50_thr0.5")


@pytest.mark.parametrize("size", [(336, 448), (448, 597)])
def test_whole_pictures_equal_the_released_code(size: tuple[int, int]) -> None:
    height, width = size
    predicted = predict(
        "naclip/reduced", f"resized_{height}x{width}", 4096, 4096, output_size=size, remainder="cut"
    )
    tag = "whole" if width == 448 else "whole448x597"
    stored = STORED[f"naclip_whole_pamr/reduced/{tag}.logits_at_input_size.every16"]
    expected = stored - stored.mean(dim=0)
    torch.testing.assert_close(cosines(predicted)[:, ::16, ::16], expected, atol=1e-5, rtol=0)


def test_pamr_equals_the_released_code() -> None:
    predicted = predict("naclip/reduced", "resized_336x448", 224, 112, refine=True)
    stored = STORED["naclip_whole_pamr/reduced/pamr.logits_after.every16"]
    expected = stored - stored.mean(dim=0)
    torch.testing.assert_close(cosines(predicted)[:, ::16, ::16], expected, atol=1e-5, rtol=0)
    scores = by_class(all_scores(predicted))
    assert_labels(scores, 0.1, "naclip_whole_pamr/reduced/pamr.scale40_thr0.1")


@pytest.mark.parametrize(("iterations", "dilations"), [(1, (1,)), (3, (1, 2, 4))])
def test_pamr_equals_the_released_code_at_other_settings(
    iterations: int, dilations: tuple[int, ...]
) -> None:
    image = normalised(draw_picture("square"))
    with torch.no_grad():
        logits = network("naclip/reduced")(image, STORED["text_embeddings"]).mask_logits
    maps = F.interpolate(logits, size=(224, 224), mode="bilinear")[0]
    refined = Pamr(image[0], iterations, dilations)(maps)
    tag = "_".join(map(str, dilations))
    key = f"naclip_whole_pamr/reduced/pamr_square_iter{iterations}_dil{tag}"
    assert_equals_stored(refined, key, 16)


@pytest.mark.parametrize("method", ["sc_clip/full", "sc_clip_rho0.03/full"])
def test_outliers_equal_the_released_code(method: str) -> None:
    trunk = network(method).encoder
    with torch.no_grad():
        after, _ = trunk(normalised(draw_picture("square")), {11})
    patches = after[11][:, 1:]
    stored = STORED[f"{method}/square.lof"]
    torch.testing.assert_close(outlier_factor(patches, 30)[0], stored, atol=1e-5, rtol=1e-5)
    found = find_outliers(patches, 30, 0.05)[0].nonzero().flatten()
    assert torch.equal(found, STORED[f"{method}/square.outlier_indices"].sort().values)
