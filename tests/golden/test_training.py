"""Losses, pseudo-labels and gradients against the released code's numbers, and at other sizes
against the reference's (dropout off)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.config import LossSettings
from cascade_clip.losses.segmentation import SegmentationLoss
from cascade_clip.training.targets import inductive_targets, transductive_targets
from tests.golden.cases import DATA, FILES, STEPS, ZEG, Golden, cases_in, golden
from tests.golden.test_forward import decided_pixels
from tests.naive.losses import focal_and_dice

RELATIVE, FLOOR = 1e-4, 1e-6


def assert_near(actual: Tensor, expected: Tensor, name: str) -> None:
    allowed = (RELATIVE * expected.abs()).clamp(min=FLOOR)
    worst = ((actual - expected).abs() / allowed).max().item()
    assert worst <= 1, f"{name} is off by {worst} times what is allowed"


def assert_near_to_largest(actual: Tensor, expected: Tensor, name: str) -> None:
    """In units of the largest element, for cases whose reference is itself rounded by more than
    1e-6 (as comparing it with float64 shows)."""
    allowed = max(RELATIVE / 5 * expected.abs().max().item(), FLOOR)
    worst = (actual - expected).abs().max().item() / allowed
    assert worst <= 1, f"{name} is off by {worst} times what is allowed"


def assert_same_pseudo_labels(targets: Tensor, case: Golden) -> None:
    """Wherever the reference's own logits of unseen classes are decided."""
    expected = case.values["transductive.train.pseudo_labels"].squeeze(1).long()
    decided = decided_pixels(case.values["mask_logits"][:, case.unseen])
    assert decided.float().mean() > 0.9
    assert torch.equal(targets[decided], expected[decided])


def training_text(case: Golden, setting: str) -> Tensor:
    text = case.values["text_embeddings"]
    return text[case.seen] if setting == "inductive" else text


def naive_targets(labels: Tensor, mask_logits: Tensor, case: Golden, setting: str) -> Tensor:
    targets = torch.full_like(labels, 255)
    if setting == "inductive":
        for place, index in enumerate(case.seen.tolist()):
            targets[labels == index] = place
        return targets
    size = labels.shape[1:]
    logits = F.interpolate(mask_logits, size=size, mode="bilinear", align_corners=False)
    best = logits[:, case.unseen].argmax(1)
    for index in range(mask_logits.shape[1]):
        targets[labels == index] = index
        if index in case.unseen:
            targets[labels == index] = case.unseen[best[labels == index]]
    return targets


def fast_step(case: Golden, setting: str) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """Focal and dice loss, targets, and gradients by our names."""
    network = case.network()
    labels = case.values[f"{setting}.train.labels"].squeeze(1).long()
    mask_logits = network(case.values["image"], training_text(case, setting)).mask_logits
    if setting == "inductive":
        targets = inductive_targets(labels, case.seen)
    else:
        targets = transductive_targets(labels, mask_logits, case.seen, case.unseen)
    terms = SegmentationLoss(LossSettings())(mask_logits, targets)
    terms.total.backward()
    grads = {name: p.grad for name, p in network.trained_parameters().items()}
    assert all(grad is not None for grad in grads.values())
    return terms.focal, terms.dice, targets, grads


def naive_step(case: Golden, setting: str) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    trained = case.network().trained_parameters().keys()
    state = {
        name: value.clone().requires_grad_(name in trained)
        for name, value in case.model.network_state.items()
    }
    labels = case.values[f"{setting}.train.labels"].squeeze(1).long()
    image, text = case.values["image"], training_text(case, setting)
    mask_logits = case.naive(image, text, state).mask_logits
    targets = naive_targets(labels, mask_logits.detach(), case, setting)
    focal, dice = focal_and_dice(mask_logits, targets, alpha=0.25, gamma=2.0)
    (100 * focal + dice).backward()
    return 100 * focal, dice, targets, {name: state[name].grad for name in trained}


@pytest.mark.parametrize("step", [fast_step, naive_step])
@pytest.mark.parametrize(("case", "setting"), STEPS)
def test_losses_pseudo_labels_and_gradients(case: str, setting: str, step) -> None:
    reference = golden(case)
    values = reference.values
    focal, dice, targets, grads = step(reference, setting)
    assert_near(focal.detach(), values[f"{setting}.train.loss_mask"][0], "focal")
    assert_near(dice.detach(), values[f"{setting}.train.loss_dice"][0], "dice")
    if setting == "transductive":
        assert_same_pseudo_labels(targets, reference)
    released = reference.model.family.to_released(grads)
    norms = {name: value for name, value in values.items() if f"{setting}.grad_norm." in name}
    assert norms
    for name, expected in norms.items():
        actual = released[name.removeprefix(f"{setting}.grad_norm.")].norm()
        assert_near(actual, expected[0], name)
    for name, expected in values.items():
        if name.startswith(f"{setting}.grad."):
            compare = assert_near if case in FILES else assert_near_to_largest
            compare(released[name.removeprefix(f"{setting}.grad.")], expected, name)


@pytest.mark.parametrize("case", cases_in(DATA, *ZEG))
def test_what_trains_is_what_the_released_code_trains(case: str) -> None:
    reference = golden(case)
    names = reference.network().trained_parameters()
    released = reference.model.family.to_released(names).keys()
    listed = {name.partition(".grad_norm.")[2] for name in reference.values if "norm." in name}
    assert released == {name for name in listed if name}
