from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.naive import losses as naive
from torch import Tensor

from cascade_clip.config import LossSettings
from cascade_clip.losses import fused as losses_fused
from cascade_clip.losses.segmentation import SegmentationLoss

PLAIN = LossSettings(focal_weight=1.0, dice_weight=1.0)


def draw(
    batch: int, classes: int, grid: tuple[int, int], size: tuple[int, int], seed: int
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, classes, *grid, generator=generator)
    labels = torch.randint(0, classes, (batch, *size), generator=generator)
    ignored = torch.rand(batch, *size, generator=generator) < 0.2
    return logits, labels.masked_fill(ignored, 255)


def assert_agrees(logits: Tensor, labels: Tensor, options: LossSettings) -> None:
    fused_logits = logits.clone().requires_grad_()
    naive_logits = logits.clone().requires_grad_()
    terms = SegmentationLoss(options)(fused_logits, labels)
    focal, dice = naive.focal_and_dice(
        naive_logits, labels, options.focal_alpha, options.focal_gamma
    )
    expected = (options.focal_weight * focal, options.dice_weight * dice)
    torch.testing.assert_close(terms.focal, expected[0], rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(terms.dice, expected[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(terms.total, terms.focal + terms.dice)
    # Unequal weights, so that the two gradients cannot be mixed up.
    (fused,) = torch.autograd.grad(3 * terms.focal - terms.dice, fused_logits)
    (reference,) = torch.autograd.grad(3 * expected[0] - expected[1], naive_logits)
    floor = 1e-5 * reference.abs().max().item()
    torch.testing.assert_close(fused, reference, rtol=1e-5, atol=floor)


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 3),
    classes=st.integers(1, 6),
    grid=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(1, 23), st.integers(1, 23)),
    alpha=st.sampled_from([0.25, 0.5, 1.0]),
    gamma=st.sampled_from([0.0, 1.5, 2.0]),
    seed=st.integers(0, 99),
)
def test_equals_naive_twin(
    batch: int,
    classes: int,
    grid: tuple[int, int],
    size: tuple[int, int],
    alpha: float,
    gamma: float,
    seed: int,
) -> None:
    logits, labels = draw(batch, classes, grid, size, seed)
    options = LossSettings(focal_alpha=alpha, focal_gamma=gamma)
    assert_agrees(logits.double(), labels, options)


@pytest.mark.parametrize("spread", [0.1, 3.0, 60.0])
@pytest.mark.parametrize("classes_drawn", [3, 20])
def test_equals_naive_twin_in_float32(spread: float, classes_drawn: int) -> None:
    logits, labels = draw(2, 20, (8, 6), (96, 80), seed=1)
    labels = torch.where(labels < classes_drawn, labels, 255)
    assert_agrees(logits * spread, labels, LossSettings())


@pytest.mark.parametrize("maps", [1, 3, 100])
def test_chunks_do_not_change_the_result(maps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses_fused, "maps_per_chunk", lambda pixels, device: maps)
    logits, labels = draw(3, 7, (4, 4), (16, 20), seed=2)
    assert_agrees(logits, torch.where(labels < 4, labels, 255), LossSettings())


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_gradcheck(gamma: float) -> None:
    logits, labels = draw(2, 4, (3, 2), (7, 9), seed=3)
    labels[0] = torch.where(labels[0] < 2, labels[0], 255)  # so that classes are absent
    loss = SegmentationLoss(PLAIN.model_copy(update={"focal_gamma": gamma}))
    inputs = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, labels)[:2], (inputs,))


def test_hand_computed() -> None:
    # One class, two pixels, both at logit 0; the first is positive, the second ignored.
    terms = SegmentationLoss(PLAIN)(torch.zeros(1, 1, 1, 2), torch.tensor([[[0, 255]]]))
    focal = (0.25 + 0.75) * 0.5**2 * math.log(2) / 2
    dice = 1 - (2 * 0.5 + 1) / (1.0 + 1 + 1)  # the ignored pixel counts in sum(p)
    assert terms.focal.item() == pytest.approx(focal, rel=1e-6)
    assert terms.dice.item() == pytest.approx(dice, rel=1e-6)


def test_all_ignored_leaves_the_negatives_of_the_focal_loss() -> None:
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    terms = SegmentationLoss(PLAIN)(logits, torch.full((1, 4, 4), 255))
    assert terms.dice.item() == 0
    assert terms.focal.item() == pytest.approx(3 * 0.75 * 0.25 * math.log(2), rel=1e-6)
    terms.total.backward()
    assert logits.grad is not None and (logits.grad > 0).all()


def test_extreme_logits_stay_finite_and_exact() -> None:
    logits = torch.tensor([200.0, -200.0]).view(1, 2, 1, 1).requires_grad_()
    terms = SegmentationLoss(PLAIN)(logits, torch.ones(1, 4, 4, dtype=torch.int64))
    assert terms.focal.item() == pytest.approx(0.75 * 200 + 0.25 * 200, rel=1e-6)
    terms.total.backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_other_ignore_value_and_more_classes_than_255() -> None:
    logits, labels = draw(1, 300, (2, 2), (8, 8), seed=4)
    labels[labels == 255] = -1
    terms = SegmentationLoss(PLAIN)(logits, labels, ignore=-1)
    focal, dice = naive.focal_and_dice(logits, labels, 0.25, 2.0, ignore=-1)
    torch.testing.assert_close((terms.focal, terms.dice), (focal, dice), rtol=1e-5, atol=1e-6)


def test_bfloat16_logits_are_computed_in_float32_under_autocast() -> None:
    logits, labels = draw(1, 5, (4, 4), (64, 64), seed=5)
    coarse = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = SegmentationLoss(LossSettings())(coarse, labels)
    expected = SegmentationLoss(LossSettings())(logits.bfloat16().float(), labels)
    assert terms.total.dtype == torch.float32
    torch.testing.assert_close(terms.total, expected.total, rtol=1e-6, atol=0)
    terms.total.backward()
    assert coarse.grad is not None and coarse.grad.dtype == torch.bfloat16


def test_labels_may_be_bytes() -> None:
    logits, labels = draw(1, 5, (4, 4), (8, 8), seed=6)
    loss = SegmentationLoss(LossSettings())
    torch.testing.assert_close(loss(logits, labels), loss(logits, labels.to(torch.uint8)))


@pytest.mark.parametrize(
    ("labels", "ignore", "message"),
    [
        (torch.full((1, 4, 4), 7), 255, "labels hold \\[7\\]"),
        (torch.full((1, 4, 4), -1), 255, "labels hold \\[-1\\]"),
        (torch.zeros(1, 4, 4, dtype=torch.int64), 2, "also one of the 5 classes"),
        (torch.zeros(2, 4, 4, dtype=torch.int64), 255, "of the same B"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.int64), 255, "of the same B"),
        (torch.zeros(1, 4, 4), 255, "must be integers"),
    ],
)
def test_wrong_labels_are_refused(labels: Tensor, ignore: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SegmentationLoss(LossSettings())(torch.zeros(1, 5, 2, 2), labels, ignore)


def _loss_of_one_process(rank: int, rendezvous: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{rendezvous}", world_size=2, rank=rank)
    # Process 0 holds one (image, class) pair, process 1 holds four: n is 2.5 in both.
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    if rank == 1:
        labels = torch.arange(4).repeat(4, 1)[None]
    terms = SegmentationLoss(PLAIN)(torch.zeros(1, 4, 2, 2), labels)
    torch.save(terms.focal, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_normaliser_is_the_mean_over_processes(tmp_path: Path) -> None:
    mp.spawn(_loss_of_one_process, (str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=2)
    for rank in range(2):
        focal = torch.load(tmp_path / f"{rank}.pt")
        positive = 1  # of the four maps' worth of pixels, one map's worth is positive
        expected = (0.25 * positive + 0.75 * (4 - positive)) * 0.25 * math.log(2) / 2.5
        assert focal.item() == pytest.approx(expected, rel=1e-6)
