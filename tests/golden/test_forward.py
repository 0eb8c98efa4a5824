"""Features, mask logits, scores and sliding windows against the released code's numbers, and at
other sizes against the reference's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.inference.sliding import sliding_labels, sliding_scores
from tests.golden.cases import CASES, SEEN_SCORE_OFFSET, STEPS, Golden, golden
from tests.naive import sliding as naive_sliding

TOLERANCE = 1e-5


def assert_close(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max().item() <= TOLERANCE


def outputs(case: Golden, twin: str) -> tuple[list[Tensor], Tensor, Tensor]:
    """Level features, global embedding and mask logits, by the network or its naive twin."""
    image, text = case.values["image"], case.values["text_embeddings"]
    with torch.no_grad():
        if twin == "naive":
            slow = case.naive(image, text, case.model.network_state)
            blocks = sorted(slow.features)
            return [slow.features[b] for b in blocks], slow.global_embedding, slow.mask_logits
        fast = case.network()(image, text)
        return fast.levels.features, fast.levels.global_embedding, fast.mask_logits


@pytest.mark.parametrize("twin", ["fast", "naive"])
@pytest.mark.parametrize("case", CASES)
def test_features_logits_and_scores(case: str, twin: str) -> None:
    reference = golden(case)
    values = reference.values
    features, global_embedding, mask_logits = outputs(reference, twin)
    assert len(features) == sum(name.startswith("features.") for name in values)
    for index, feature in enumerate(features):
        assert_close(feature, values[f"features.{index}"].flatten(2).transpose(1, 2))
    assert_close(global_embedding, values["cls_embedding"])
    upsampled = F.interpolate(
        mask_logits, size=reference.image_size, mode="bilinear", align_corners=False
    )
    assert_close(upsampled, values["mask_logits"])
    scores = upsampled.sigmoid()
    assert_close(scores, values["transductive.scores"])
    scores[:, reference.seen] -= SEEN_SCORE_OFFSET["inductive"]
    assert_close(scores, values["inductive.scores"])


@pytest.mark.parametrize(("case", "setting"), STEPS)
def test_sliding_windows(case: str, setting: str) -> None:
    reference = golden(case)
    expected = reference.values[f"{setting}.slide.scores"]
    network, options = reference.network(), slide_options(reference, setting)
    image = reference.values[f"{setting}.slide.image"]
    text = reference.values["text_embeddings"]
    assert_close(sliding_scores(network, image, text, **options), expected)
    labels = sliding_labels(network, image, text, **options)
    assert_same_labels(labels, reference, setting)


@pytest.mark.parametrize(("case", "setting"), STEPS)
def test_sliding_windows_of_the_naive_twin(case: str, setting: str) -> None:
    reference = golden(case)
    text, state = reference.values["text_embeddings"], reference.model.network_state
    with torch.no_grad():
        scores = naive_sliding.sliding_scores(
            lambda window: reference.naive(window, text, state).mask_logits,
            reference.values[f"{setting}.slide.image"],
            patch=reference.model.vision["patch_size"],
            **slide_options(reference, setting),
        )
    assert_close(scores, reference.values[f"{setting}.slide.scores"])
    assert_same_labels(scores.argmax(1), reference, setting)


def assert_same_labels(labels: Tensor, reference: Golden, setting: str) -> None:
    """Wherever the reference itself is decided by more than the tolerance."""
    decided = decided_pixels(reference.values[f"{setting}.slide.scores"])
    assert decided.float().mean() > 0.9
    expected = reference.values[f"{setting}.slide.labels"].long()
    assert torch.equal(labels[decided], expected[decided])


def decided_pixels(maps: Tensor) -> Tensor:
    """Where the best of the maps (B, C, H, W) leads by more than the tolerance: (B, H, W)."""
    if maps.shape[1] == 1:
        return torch.ones_like(maps[:, 0], dtype=torch.bool)
    best, second = maps.topk(2, dim=1).values.unbind(1)
    return best - second > TOLERANCE


def slide_options(
    reference: Golden,
    setting: str,
    logit_size: tuple[int, int] | None = None,
    seen_score_offset: float | None = None,
) -> dict[str, Any]:
    """`logit_size` is that of the reference's own mask logits, where these are not stored;
    `seen_score_offset` what is subtracted where that does not follow from the setting."""
    if seen_score_offset is None:
        seen_score_offset = SEEN_SCORE_OFFSET[setting]
    preprocessing = reference.model.preprocessing
    offsets = torch.zeros(len(reference.values["text_embeddings"]))
    offsets[reference.seen] = -seen_score_offset
    return {
        "crop": preprocessing.crop,
        "stride": preprocessing.stride,
        "output_size": tuple(reference.values[f"{setting}.slide.labels"].shape[-2:]),
        "offsets": offsets,
        "logit_size": logit_size or reference.image_size,
    }
