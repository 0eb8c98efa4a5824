"""The reference that performance is held against computes what the released code does."""

from __future__ import annotations

import pytest
import torch
from benchmarks.reference.inference import sliding_scores
from benchmarks.reference.loss import focal_and_dice, pseudo_labels
from benchmarks.reference.network import ReferenceNetwork, ReferenceSizes, reference_of
from torch import Tensor

from tests.golden.cases import FILES, SETTINGS, Golden, golden
from tests.golden.test_forward import assert_close, assert_same_labels, slide_options
from tests.golden.test_training import assert_near, assert_same_pseudo_labels


def reference(case: str) -> tuple[Golden, ReferenceNetwork]:
    expected = golden(case)
    vision, head = expected.model.vision, expected.model.settings.head
    sizes = ReferenceSizes(
        vision_heads=vision["width"] // vision["head_width"],
        decoder_heads=head.decoder_heads,
        image_size=expected.image_size[0],
        inner_levels=tuple(b - 1 for stage in head.stages for b in stage if b < vision["layers"]),
    )
    return expected, ReferenceNetwork(expected.state, sizes).eval()


@pytest.mark.parametrize("case", FILES)
def test_features_and_logits(case: str) -> None:
    expected, network = reference(case)
    image, text = expected.values["image"], expected.values["text_embeddings"]
    with torch.no_grad():
        levels, global_embedding = network.backbone(image)
        logits = network.decode_head(levels, global_embedding, text)
    for index, level in enumerate(levels):
        assert_close(level, expected.values[f"features.{index}"])
    assert_close(global_embedding, expected.values["cls_embedding"])
    assert_close(logits, expected.values["mask_logits"])


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("case", FILES)
def test_sliding_windows(case: str, setting: str) -> None:
    expected, network = reference(case)
    text, options = expected.values["text_embeddings"], slide_options(expected, setting)
    del options["logit_size"]  # it always upsamples to the training size
    scores = sliding_scores(
        lambda window: network(window, text),
        expected.values[f"{setting}.slide.image"],
        **options,
    )
    assert_close(scores, expected.values[f"{setting}.slide.scores"])
    assert_same_labels(scores.argmax(1), expected, setting)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("case", FILES)
def test_losses_and_gradients(case: str, setting: str) -> None:
    expected, network = reference(case)
    values = expected.values
    labels = values[f"{setting}.train.labels"].squeeze(1).long()
    text, targets = values["text_embeddings"], labels
    if setting == "inductive":
        text, targets = text[expected.seen], among_seen(labels, expected.seen)
    logits = network(values["image"], text)
    if setting == "transductive":
        targets = pseudo_labels(logits, labels, expected.unseen)
        assert_same_pseudo_labels(targets, expected)
    focal, dice = focal_and_dice(logits, targets)
    (focal + dice).backward()
    assert_near(focal.detach(), values[f"{setting}.train.loss_mask"][0], "focal")
    assert_near(dice.detach(), values[f"{setting}.train.loss_dice"][0], "dice")
    norms = [name for name in values if f"{setting}.grad_norm." in name]
    assert norms
    parameters = dict(network.named_parameters())
    for name in norms:
        gradient = parameters[name.removeprefix(f"{setting}.grad_norm.")].grad
        assert_near(gradient.norm(), values[name][0], name)


def among_seen(labels: Tensor, seen: Tensor) -> Tensor:
    places = torch.full((256,), 255)
    places[seen] = torch.arange(len(seen))
    return places[labels]


@pytest.mark.parametrize("case", FILES)
def test_the_weights_of_our_network(case: str) -> None:
    expected, network = reference(case)
    ours = reference_of(expected.network(), expected.image_size[0])
    image, text = expected.values["image"], expected.values["text_embeddings"]
    with torch.no_grad():
        torch.testing.assert_close(ours(image, text), network(image, text))
