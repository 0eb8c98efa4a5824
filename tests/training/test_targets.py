from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_clip.config import LossSettings
from cascade_clip.data.labels import IGNORE, UNLABELLED, full_targets
from cascade_clip.losses.segmentation import SegmentationLoss
from cascade_clip.training.targets import inductive_targets, transductive_targets

SEEN = torch.tensor([0, 2, 3])
UNSEEN = torch.tensor([1, 4])


def constant_logits(scores: list[float]) -> Tensor:
    """(1, C, 2, 2), the same score everywhere in a class map."""
    return torch.tensor(scores).view(1, -1, 1, 1).expand(1, -1, 2, 2)


def test_inductive_keeps_seen_classes_under_new_indices() -> None:
    labels = torch.tensor([[[0, 1, 2, 3, 4, UNLABELLED, IGNORE]]])
    expected = torch.tensor([[[0, IGNORE, 1, 2, IGNORE, IGNORE, IGNORE]]])
    assert torch.equal(inductive_targets(labels, SEEN), expected)
    assert torch.equal(inductive_targets(labels.to(torch.uint8), SEEN), expected)


def test_inductive_follows_the_order_of_seen() -> None:
    labels = torch.tensor([[[0, 1, 2, 3]]])
    targets = inductive_targets(labels, torch.tensor([3, 0, 2]))
    assert targets.flatten().tolist() == [1, IGNORE, 2, 0]


def test_transductive_labels_by_the_best_unseen_class_only() -> None:
    labels = torch.tensor([[[0, 1, 4, 3], [2, UNLABELLED, IGNORE, 1]]])
    # Seen classes score highest, class 4 beats class 1.
    logits = constant_logits([9.0, 1.0, 9.0, 9.0, 2.0])
    targets = transductive_targets(labels, logits, SEEN, UNSEEN)
    assert targets.tolist() == [[[0, 4, 4, 3], [2, 4, IGNORE, 4]]]


def test_transductive_never_tells_the_hidden_class() -> None:
    """Swapping the ground truth among unseen classes and UNLABELLED changes nothing."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (2, 16, 12), generator=generator)
    logits = torch.randn(2, 5, 4, 3, generator=generator)
    hidden = torch.isin(labels, UNSEEN)
    targets = transductive_targets(labels, logits, SEEN, UNSEEN)
    for stand_in in (1, 4, UNLABELLED):
        other = labels.masked_fill(hidden, stand_in)
        assert torch.equal(transductive_targets(other, logits, SEEN, UNSEEN), targets)
    assert torch.isin(targets[hidden], UNSEEN).all()
    assert torch.equal(targets[~hidden], labels[~hidden])


def test_transductive_equals_argmax_of_upsampled_logits() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 40, 4, 5, generator=generator, dtype=torch.float64)
    seen, unseen = torch.arange(0, 40, 2), torch.arange(39, 0, -2)  # in no ascending order
    labels = torch.full((3, 150, 130), UNLABELLED)  # maps too large for one chunk
    labels[1] = 0
    full = F.interpolate(logits, size=(150, 130), mode="bilinear", align_corners=False)
    expected = unseen[full[:, unseen].argmax(1)]
    expected[1] = 0
    assert torch.equal(transductive_targets(labels, logits, seen, unseen), expected)


def test_transductive_leaves_its_inputs_alone() -> None:
    labels = torch.tensor([[[0, 1], [UNLABELLED, IGNORE]]])
    before = labels.clone()
    logits = constant_logits([0.0] * 5).clone().requires_grad_()
    targets = transductive_targets(labels, logits, SEEN, UNSEEN)
    assert torch.equal(labels, before)
    assert not targets.requires_grad
    SegmentationLoss(LossSettings())(logits, targets).total.backward()


def test_transductive_needs_logits_over_all_classes() -> None:
    with pytest.raises(ValueError, match="hold 3 classes"):
        transductive_targets(torch.zeros(1, 2, 2).long(), torch.zeros(1, 3, 2, 2), SEEN, UNSEEN)


def test_full_ignores_only_what_has_no_label() -> None:
    labels = torch.tensor([[[0, 4, UNLABELLED, IGNORE]]], dtype=torch.uint8)
    assert full_targets(labels).tolist() == [[[0, 4, IGNORE, IGNORE]]]


@pytest.mark.parametrize("count", [0, 255])
def test_class_indices_must_not_collide_with_the_special_values(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 254 classes"):
        inductive_targets(torch.zeros(1, 2, 2).long(), torch.arange(count))
