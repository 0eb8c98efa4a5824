"""CLIP-RC, and its naive twin, against the numbers of its released code.

In the project's own files, scores lie on every fourth row and column alone, and what both settings
share is there once; files of others may hold all. Elements of gradients are compared to the largest
of their tensor: in float64 the small ones differ from the released numbers by 15e-4 of themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.checkpoint.released.classes import Overrides
from cascade_clip.checkpoint.released.load import ReleasedModel, build_released, convert_released
from cascade_clip.config import LossSettings
from cascade_clip.errors import UserError
from cascade_clip.inference.sliding import sliding_labels, sliding_scores
from cascade_clip.losses.segmentation import SegmentationLoss
from cascade_clip.training.targets import inductive_targets, transductive_targets
from tests.golden.cases import DATA, SEEN_SCORE_OFFSET, SETTINGS, Golden, cases_of, golden_file
from tests.golden.test_forward import assert_close, decided_pixels
from tests.golden.test_training import (
    assert_near,
    assert_near_to_largest,
    naive_targets,
    training_text,
)
from tests.naive import sliding as naive_sliding
from tests.naive.heads import clip_rc as naive
from tests.naive.layers import State
from tests.naive.losses import focal_and_dice
from tests.naive.network import attention_bias, naive_levels

FILES = cases_of("cliprc")
CASES = [pytest.param(golden_file(path), id=name) for name, path in FILES.items()]
TERMS = {
    "loss_mask": "focal",
    "loss_dice": "dice",
    "recovery_loss_q": "recovery_queries",
    "recovery_loss_k": "recovery_patches",
}
EVERY = 4
Step = tuple[Mapping[str, Tensor], Tensor, dict[str, Tensor]]


def of(case: Golden, setting: str, name: str) -> Tensor:
    """A value of a setting; where it is the same in both, it may lie with `inductive` alone."""
    values = case.values
    return values.get(f"{setting}.{name}", values.get(f"inductive.{name}"))


def assert_close_where_stored(actual: Tensor, stored: Tensor) -> None:
    assert_close(actual if actual.shape == stored.shape else actual[..., ::EVERY, ::EVERY], stored)


def image_size(case: Golden) -> tuple[int, int]:
    """To which the released code upsamples mask logits: its training size."""
    height, width = case.values["image"].shape[2:]
    return height, width


def upsampled(case: Golden, mask_logits: Tensor) -> Tensor:
    size = image_size(case)
    return F.interpolate(mask_logits, size=size, mode="bilinear", align_corners=False)


def naive_stage(case: Golden, state: State, image: Tensor, text: Tensor) -> naive.NaiveStage:
    """The only stage, for one image (3, H, W)."""
    settings = case.model.settings
    levels = naive_levels(state, settings, case.sizes, image, text)
    return naive.stages(state, settings.head, levels, text)[0]


@pytest.mark.parametrize("case", CASES)
def test_every_step_of_the_forward_pass(case: Golden) -> None:
    values, network = case.values, case.network()
    with torch.no_grad():
        output = network(values["image"], values["text_embeddings"])
        recovered = network.head.recovery.recover(output.last_stage)
    levels, last = output.levels, output.last_stage
    assert_close(levels.features[0], values["features.0"].flatten(2).mT)
    assert_close(levels.global_embedding, values["cls_embedding"])
    assert_close(levels.regions[0], values["region_embeddings"].flatten(2).mT)
    project = network.head.query_projections[0]
    starts = [project(last.text, one) for one in last.matched]  # (R, C, d) each
    assert_close(torch.stack(starts), values["queries"])
    products = (last.queries @ last.patches.mT).unflatten(1, (-1, len(last.text)))
    assert_close(products.unflatten(3, levels.grid), values["per_region.logits"])
    assert_close_where_stored(upsampled(case, output.mask_logits), values["mask_logits"])
    actual = {
        "ori_q": last.query_inputs(),
        "ori_lateral": last.features,
        "q": recovered[0],
        "lateral": recovered[1],
    }
    for name, value in actual.items():
        if f"recovery.{name}" in values:
            assert_close(value, values[f"recovery.{name}"])


@pytest.mark.parametrize("case", CASES)
def test_every_step_of_the_naive_twin(case: Golden) -> None:
    values, settings = case.values, case.model.settings
    with torch.no_grad():
        for index, image in enumerate(values["image"]):
            state = case.model.network_state
            text = values["text_embeddings"]
            levels = naive_levels(state, settings, case.sizes, image, text)
            stage = naive.stages(state, settings.head, levels, text)[0]
            query_inputs, features = naive.recovered(state, settings.head, stage)
            depth = case.model.family.depth
            expected = {
                "features.0": levels.features[depth].T.unflatten(1, levels.grid),
                "cls_embedding": levels.global_embedding,
                "region_embeddings": levels.regions[depth].T.flatten(),
                "queries": stage.query_starts.flatten(),
                "per_region.logits": stage.per_region,
                "recovery.ori_q": stage.query_inputs,
                "recovery.ori_lateral": stage.features,
                "recovery.q": query_inputs,
                "recovery.lateral": features,
            }
            for name, value in expected.items():
                if name in values:
                    assert_close(value.flatten(), values[name][index].flatten())
            logits = upsampled(case, stage.per_region.mean(0)[None])
            assert_close_where_stored(logits, values["mask_logits"][index : index + 1])


@pytest.mark.parametrize("case", CASES)
def test_the_attention_mask(case: Golden) -> None:
    """Tokens there: class token, prompts, patches, regions."""
    encoder, grid = case.network().encoder, case.values["features.0"].shape[2:]
    prompts, expected = encoder.settings.prompts, case.values["attention_mask"] == 1
    order = [0, *range(1 + prompts, len(expected)), *range(1, 1 + prompts)]
    mask = encoder.regions.attention_mask(tuple(grid), prompts)
    assert torch.equal(mask, expected[order][:, order])
    bias = attention_bias(encoder.settings.regions, prompts, tuple(grid))
    assert torch.equal(bias == 0, expected)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("twin", ["fast", "naive"])
@pytest.mark.parametrize("case", CASES)
def test_sliding_windows(case: Golden, twin: str, setting: str) -> None:
    image, text = of(case, setting, "slide.image"), case.values["text_embeddings"]
    labels = of(case, setting, "slide.labels").long()
    offsets = torch.zeros(len(text))
    offsets[case.seen] = -SEEN_SCORE_OFFSET[setting]
    options = {
        "crop": case.model.preprocessing.crop,
        "stride": case.model.preprocessing.stride,
        "output_size": tuple(labels.shape[1:]),
        "offsets": offsets,
        "logit_size": image_size(case),
    }
    if twin == "fast":
        network = case.network()
        scores = sliding_scores(network, image, text, **options)
        found = sliding_labels(network, image, text, **options)
    else:
        state = case.model.network_state
        with torch.no_grad():
            scores = naive_sliding.sliding_scores(
                lambda window: torch.stack(
                    [naive_stage(case, state, one, text).per_region.mean(0) for one in window]
                ),
                image,
                patch=case.model.vision["patch_size"],
                **options,
            )
        found = scores.argmax(1)
    if f"{setting}.slide.scores" in case.values:
        assert_close_where_stored(scores, case.values[f"{setting}.slide.scores"])
    decided = decided_pixels(scores)
    assert decided.float().mean() > 0.9
    assert torch.equal(found[decided], labels[decided])


def fast_step(case: Golden, setting: str) -> Step:
    """Terms of the loss, targets, and gradients by our names."""
    network = case.network()
    labels = of(case, setting, "train.labels").squeeze(1).long()
    output = network(case.values["image"], training_text(case, setting))
    if setting == "inductive":
        targets = inductive_targets(labels, case.seen)
    else:
        targets = transductive_targets(labels, output.mask_logits, case.seen, case.unseen)

    def segmentation(mask_logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        terms = SegmentationLoss(LossSettings(**case.model.recipe["loss"]))(mask_logits, targets)
        return {"focal": terms.focal, "dice": terms.dice}

    terms = network.head.loss_terms(output, targets, segmentation)
    sum(terms.values()).backward()
    return terms, targets, {name: p.grad for name, p in network.trained_parameters().items()}


def naive_step(case: Golden, setting: str) -> Step:
    """The same by the naive twin."""
    trained, head = case.network().trained_parameters().keys(), case.model.settings.head
    state = {
        name: value.clone().requires_grad_(name in trained)
        for name, value in case.model.network_state.items()
    }
    text = training_text(case, setting)
    stages = [naive_stage(case, state, image, text) for image in case.values["image"]]
    mask_logits = torch.stack([stage.per_region.mean(0) for stage in stages])
    labels = of(case, setting, "train.labels").squeeze(1).long()
    targets = naive_targets(labels, mask_logits.detach(), case, setting)
    focal, dice = focal_and_dice(mask_logits, targets, alpha=0.25, gamma=2.0)
    recovered = [naive.recovered(state, head, stage) for stage in stages]
    queries = torch.stack([q for q, _ in recovered])
    patches = torch.stack([z for _, z in recovered])
    query_inputs = torch.stack([stage.query_inputs for stage in stages]).detach()
    features = torch.stack([stage.features for stage in stages]).detach()
    weights = case.model.recipe["loss"]
    terms = {
        "focal": weights["focal_weight"] * focal,
        "dice": weights["dice_weight"] * dice,
        "recovery_queries": head.recovery_weight * (queries - query_inputs).abs().mean(),
        "recovery_patches": head.recovery_weight * (patches - features).abs().mean(),
    }
    sum(terms.values()).backward()
    return terms, targets, {name: state[name].grad for name in trained}


@pytest.mark.parametrize("step", [fast_step, naive_step])
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("case", CASES)
def test_losses_pseudo_labels_and_gradients(case: Golden, setting: str, step) -> None:
    values = case.values
    terms, targets, grads = step(case, setting)
    for theirs, ours in TERMS.items():
        assert_near(terms[ours].detach(), values[f"{setting}.train.{theirs}"][0], ours)
    assert_near(sum(terms.values()).detach(), values[f"{setting}.train.total"][0], "total")
    if setting == "transductive":
        expected = values["transductive.train.pseudo_labels"].squeeze(1).long()
        decided = ~torch.isin(of(case, setting, "train.labels").squeeze(1).long(), case.unseen)
        assert torch.equal(targets[decided], expected[decided])
        assert_same_unseen(case, targets, expected)
    released = case.model.family.to_released(grads)
    listed = {
        name.partition(".grad_norm.")[2]: norm.squeeze()
        for name, norm in values.items()
        if name.startswith(f"{setting}.grad_norm.")
    }
    assert released.keys() == listed.keys()
    for name, norm in listed.items():
        assert_near(released[name].norm(), norm, name)
    for name, expected in values.items():
        if name.startswith(f"{setting}.grad."):
            assert_near_to_largest(released[name.removeprefix(f"{setting}.grad.")], expected, name)


def assert_same_unseen(case: Golden, targets: Tensor, expected: Tensor) -> None:
    """Wherever the logits of unseen classes are decided."""
    with torch.no_grad():
        logits = case.network()(case.values["image"], case.values["text_embeddings"]).mask_logits
    decided = decided_pixels(upsampled(case, logits)[:, case.unseen])
    assert decided.float().mean() > 0.9
    assert torch.equal(targets[decided], expected[decided])


@pytest.mark.parametrize("case", CASES)
def test_every_released_weight_is_used_or_known_to_be_dead(case: Golden) -> None:
    family, text = case.model.family, case.model.text_state
    dead = {name for name in case.state if "self_attn" in name or "norm1" in name}
    assert set(case.model.dropped) == dead
    assert {name: tuple(case.state[name].shape) for name in dead} == family.dead_weights()
    assert len(case.state) == len(dead) + len(text) + len(case.model.network_state) + 1  # prompts
    regions = case.network().encoder.regions.tokens
    assert torch.equal(regions, case.state["backbone.region_level_bridge"])


def with_recovery(weight: str, **overrides: Any) -> ReleasedModel:
    """The project's own case with another weight of the recovery loss in its configuration."""
    content = torch.load(DATA / "cliprc_small.pth", weights_only=True)
    meta = content["meta"]
    assert "recovery_loss_weight=2.0" in meta["config"]
    config = meta["config"].replace("recovery_loss_weight=2.0", f"recovery_loss_weight={weight}")
    return convert_released(
        content["state_dict"], meta | {"config": config}, Overrides(**overrides)
    )


def test_what_recovers_is_dead_where_its_loss_has_no_weight() -> None:
    model = with_recovery("0")
    state = torch.load(DATA / "cliprc_small.pth", weights_only=True)["state_dict"]
    dead = model.family.dead_weights()
    assert {name: tuple(state[name].shape) for name in model.dropped} == dead
    assert any("recovery_decoder.linear_q_out" in name for name in dead)
    assert not any("recovery" in name for name in build_released(model)[1].state_dict())


def test_what_cannot_be_converted_is_named() -> None:
    with pytest.raises(UserError, match="'recovery_loss_weight' = 'much'; expected a number"):
        with_recovery("'much'")
    with pytest.raises(UserError, match="reads the last block only; leave inner blocks out"):
        with_recovery("2.0", inner_blocks=(3,))
