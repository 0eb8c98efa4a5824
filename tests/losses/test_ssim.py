from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.naive import losses as naive

from cascade_clip.config import LossSettings
from cascade_clip.losses import ssim as losses_ssim
from cascade_clip.losses.segmentation import SegmentationLoss
from cascade_clip.losses.ssim import structural_dissimilarity


@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(1, 3),
    classes=st.integers(1, 5),
    grid=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    seed=st.integers(0, 99),
)
def test_equals_naive_twin(
    batch: int, classes: int, grid: tuple[int, int], size: tuple[int, int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, *grid, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes + 1, (batch, *size), generator=generator)
    labels = labels.masked_fill(labels == classes, 255)
    fast, slow = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, expected = (
        structural_dissimilarity(fast, labels),
        naive.structural_dissimilarity(slow, labels),
    )
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        torch.autograd.grad(loss, fast), torch.autograd.grad(expected, slow), atol=1e-7, rtol=1e-6
    )


def test_few_maps_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = torch.randn(2, 5, 4, 4), torch.randint(0, 5, (2, 20, 24))
    at_once = structural_dissimilarity(logits, labels)
    monkeypatch.setattr(losses_ssim, "maps_per_chunk", lambda pixels, device: 2)
    torch.testing.assert_close(structural_dissimilarity(logits, labels), at_once)


def test_zero_for_logits_equal_to_the_labels_and_more_for_their_opposite() -> None:
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    labels[:, 4:12, 4:12] = 1
    same = torch.nn.functional.one_hot(labels, 2).permute(0, 3, 1, 2).float()
    assert structural_dissimilarity(same, labels).item() == pytest.approx(0, abs=1e-5)
    assert structural_dissimilarity(1 - same, labels).item() > 0.9


def test_it_is_one_term_of_the_loss_when_weighed() -> None:
    logits, labels = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 16, 16))
    without = SegmentationLoss(LossSettings())(logits, labels)
    terms = SegmentationLoss(LossSettings(ssim_weight=2.0))(logits, labels)
    torch.testing.assert_close(terms.ssim, 2 * structural_dissimilarity(logits, labels))
    torch.testing.assert_close(terms.total, without.total + terms.ssim)


def test_bfloat16_under_autocast_is_computed_in_float32() -> None:
    logits, labels = torch.randn(1, 3, 4, 4), torch.randint(0, 3, (1, 16, 16))
    expected = structural_dissimilarity(logits.bfloat16().float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = structural_dissimilarity(logits.bfloat16(), labels)
    torch.testing.assert_close(loss, expected)
