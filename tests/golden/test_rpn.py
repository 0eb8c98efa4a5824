"""RPN against the released code's numbers: the network and its naive twin.

Cases in `data` hold the sliding windows' scores at every fourth row and column, and none of what
follows from the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.inference.sliding import sliding_labels, sliding_scores
from tests.golden.cases import SETTINGS, Golden, cases_of, golden_file
from tests.golden.test_forward import assert_close, decided_pixels, slide_options
from tests.golden.test_training import (
    assert_near,
    assert_near_to_largest,
    assert_same_pseudo_labels,
    fast_step,
    naive_step,
)
from tests.naive import network as naive_network
from tests.naive import sliding as naive_sliding

FILES = cases_of("rpn")
TWINS = ("fast", "naive")
SEEN_SCORE_OFFSET = 0.1
"""In every setting: the released head knows but one."""


@cache
def golden(case: str) -> Golden:
    return golden_file(FILES[case])


def forward(case: Golden, twin: str) -> Callable[[Tensor, Tensor], Any]:
    """Images and text embeddings to mask logits and levels."""
    if twin == "fast":
        return case.network()
    return lambda image, text: case.naive(image, text, case.model.network_state)


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("case", FILES)
def test_what_each_block_gives_to_the_next(
    case: str, twin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = golden(case)
    values, seen = reference.values, []  # (unit embeddings, relationship prompts) block by block
    network = forward(reference, twin)
    if twin == "fast":
        module = network.encoder.relationship_prompts
        module.register_forward_hook(lambda _, given, found: seen.append((given[0], found)))
    else:
        related = naive_network.relationship_prompts

        def recorded(state: Any, embeddings: Tensor, *rest: Any) -> Tensor:
            seen.append((embeddings[None], related(state, embeddings, *rest)[None]))
            return seen[-1][1][0]

        monkeypatch.setattr(naive_network, "relationship_prompts", recorded)
    with torch.no_grad():
        network(values["image"], values["text_embeddings"])
    pictures = 1 if twin == "fast" else len(values["image"])  # one after the other
    blocks = len(seen) // pictures
    assert blocks == reference.model.family.depth - 1
    compared = 0
    for block in range(blocks):
        embeddings, prompts = (torch.cat(each) for each in zip(*seen[block::blocks], strict=True))
        found = {
            "cls_embedding": embeddings[:, 0],
            "patch_embeddings": embeddings[:, 1:].transpose(1, 2),
            "relationship_prompt": prompts,
        }
        for name, actual in found.items():
            expected = values.get(f"block.{block}.{name}")
            if expected is not None:
                assert_close(actual, expected.reshape(actual.shape))
                compared += 1
    assert compared == sum(n.startswith("block.") for n in values) - 2  # the last block's


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("case", FILES)
def test_features_queries_logits_and_scores(case: str, twin: str) -> None:
    reference = golden(case)
    values, last = reference.values, reference.model.family.depth
    text = values["text_embeddings"]
    with torch.no_grad():
        found = forward(reference, twin)(values["image"], text)
    fast = twin == "fast"
    patches = found.levels.features[0] if fast else found.features[last]
    global_embedding = (found.levels if fast else found).global_embedding
    features = values[f"block.{last - 1}.patch_embeddings"]
    assert_close(patches, features.flatten(2).transpose(1, 2))
    assert_close(global_embedding, values[f"block.{last - 1}.cls_embedding"])
    if fast:
        with torch.no_grad():
            queries = reference.network().head.query_projections[0](text, global_embedding)
        assert_close(queries, values["queries"])
    size = reference.image_size
    logits = F.interpolate(found.mask_logits, size=size, mode="bilinear", align_corners=False)
    assert_close(logits, values["mask_logits"])
    scores = logits.sigmoid()
    scores[:, reference.seen] -= SEEN_SCORE_OFFSET
    for name in {f"{setting}.scores" for setting in SETTINGS} & values.keys():
        assert_close(scores, values[name])


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("case", FILES)
def test_sliding_windows(case: str, twin: str) -> None:
    reference = golden(case)
    text, network = reference.values["text_embeddings"], forward(reference, twin)
    compared = 0
    for setting in SETTINGS:
        path = f"{setting}.slide"
        if f"{path}.image" not in reference.values:
            continue
        image, labels, expected = (
            reference.values[f"{path}.{n}"] for n in ("image", "labels", "scores")
        )
        options = slide_options(reference, setting, seen_score_offset=SEEN_SCORE_OFFSET)
        if twin == "fast":
            scores = sliding_scores(network, image, text, **options)
            found = sliding_labels(network, image, text, **options)
        else:
            with torch.no_grad():
                scores = naive_sliding.sliding_scores(
                    lambda window: network(window, text).mask_logits,
                    image,
                    patch=reference.model.vision["patch_size"],
                    **options,
                )
            found = scores.argmax(dim=1)
        step = -(-labels.shape[-2] // expected.shape[-2])
        assert_close(scores[..., ::step, ::step], expected)
        decided = decided_pixels(scores)
        assert decided.float().mean() > 0.9
        assert torch.equal(found[decided], labels.reshape(found.shape).long()[decided])
        compared += 1
    assert compared


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("case", FILES)
def test_losses_pseudo_labels_and_gradients(case: str, setting: str, twin: str) -> None:
    reference = golden(case)
    step = fast_step if twin == "fast" else naive_step
    focal, dice, targets, gradients = step(reference, setting)
    focal, dice = focal.detach(), dice.detach()
    values, path = reference.values, f"{setting}.train"
    assert_near(focal, values[f"{path}.loss_mask"][0], "focal")
    assert_near(dice, values[f"{path}.loss_dice"][0], "dice")
    assert_near(focal + dice, values[f"{path}.total"][0], "total")
    if setting == "transductive":
        assert_same_pseudo_labels(targets, reference)
    else:
        assert torch.equal(targets, values[f"{path}.seen_labels"].squeeze(1).long())
    released = reference.model.family.to_released(gradients)
    listed = {name for name in values if name.startswith(f"{setting}.grad_norm.")}
    assert {f"{setting}.grad_norm.{name}" for name in released} == listed
    for name in listed:
        actual = released[name.removeprefix(f"{setting}.grad_norm.")].norm()
        assert_near(actual, values[name].squeeze(), name)
    for name in values:
        if name.startswith(f"{setting}.grad."):
            # The released numbers themselves are up to 3e-6 off those in float64.
            actual = released[name.removeprefix(f"{setting}.grad.")]
            assert_near_to_largest(actual, values[name], name)
