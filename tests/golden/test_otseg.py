"""OTSeg's released numbers: transport plans, both paths, windows, losses and gradients.

The released iterations stop for all windows that go through the network together, and there it is
one window at a time. Maps may be stored on every n-th row and column.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_clip.config import LossSettings
from cascade_clip.inference.sliding import sliding_labels, sliding_scores
from cascade_clip.losses.segmentation import SegmentationLoss
from cascade_clip.model.heads.otseg import match
from cascade_clip.model.sinkhorn import transport_plans
from cascade_clip.training.targets import inductive_targets, transductive_targets
from tests.golden.cases import (
    DATA,
    SEEN_SCORE_OFFSET,
    SETTINGS,
    Golden,
    cases_in,
    cases_of,
    golden_file,
)
from tests.golden.test_forward import assert_close, decided_pixels, slide_options
from tests.golden.test_training import assert_near, naive_targets, training_text
from tests.naive import sinkhorn as naive_sinkhorn
from tests.naive import sliding as naive_sliding
from tests.naive.heads import otseg as twin
from tests.naive.losses import focal_and_dice
from tests.naive.network import NaiveSizes, naive_levels

FILES = cases_of("otseg")
STEPS = [(case, setting) for case in FILES for setting in SETTINGS]
PATHS = ("decoder", "score")


@cache
def golden(case: str) -> Golden:
    return golden_file(FILES[case])


def training_size(case: Golden) -> tuple[int, int]:
    """To which the released code upsamples mask logits."""
    side = case.model.vision["image_size"]
    return side, side


def upsampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def assert_stored(maps: Tensor, stored: Tensor) -> None:
    """Of maps (B, C, H, W), every n-th row and column may be stored."""
    every = -(-maps.shape[-2] // stored.shape[-2])
    assert_close(maps[..., ::every, ::every], stored)


def released_logits(values: dict[str, Tensor]) -> Tensor:
    """Mask logits (B, C, h, w) of both paths together, from the released scores of each layer."""
    *gates, last = (values[name] for name in sorted(values) if name.startswith("decoder.score."))
    for gate in gates:
        last = last * gate.sigmoid() ** (1 / len(gates))
    return 0.5 * (values["mps.score"] + last)


def naive_paths(
    case: Golden, image: Tensor, text: Tensor, state: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Mask logits (B, C, h, w) by path."""
    vision = case.model.vision
    side = vision["image_size"] // vision["patch_size"]
    sizes = NaiveSizes(vision["width"] // vision["head_width"], (side, side), quick_gelu=True)
    settings = case.model.settings
    levels = [naive_levels(state, settings, sizes, one, text) for one in image]
    paths = twin.path_logits(state, settings.head, levels, text)
    return {
        name: torch.stack([image[place][0] for image in paths])
        for place, name in enumerate(("score", "decoder"))
    }


@contextmanager
def watched(modules: list[nn.Module]) -> Iterator[list[Any]]:
    """What the modules give while they are watched."""
    found: list[Any] = []
    hooks = [m.register_forward_hook(lambda m, i, output: found.append(output)) for m in modules]
    yield found
    for hook in hooks:
        hook.remove()


@torch.no_grad()
@pytest.mark.parametrize("case", FILES)
def test_features_queries_plans_and_scores(case: str) -> None:
    reference = golden(case)
    values, network = reference.values, reference.network()
    text = values["text_embeddings"]
    decoder: Any = network.head.decoders[0]
    project = network.head.query_projections[0]
    with watched([project, *decoder.layers, decoder.scores]) as found:
        output = network(values["image"], text)
    features = output.levels.features[0]
    assert_close(features, values["features.0"].flatten(2).transpose(1, 2))
    assert_close(output.levels.global_embedding, values["cls_embedding"])
    queries = found[0].unflatten(1, text.shape[:2])
    assert_close(queries, values["queries"])
    scores, plans = match(queries, features, None)
    assert_close(plans.transpose(2, 3), values["mps.plan"])
    assert_close(scores.unflatten(2, output.levels.grid), values["mps.score"])
    assert_close(output.prompt_logits, values["mps.score"])
    layers = [score for score, _ in found[1:-1]] + found[-1:]
    for layer, score in enumerate(layers):
        assert_close(score.unflatten(2, output.levels.grid), values[f"decoder.score.{layer}"])
    assert f"decoder.score.{len(layers)}" not in values
    size = training_size(reference)
    assert_stored(upsampled(output.mask_logits, size), values["mask_logits"])
    assert_close(output.mask_logits, released_logits(values))
    for name, logits in (("mps", output.prompt_logits), ("decoder", output.decoder_logits)):
        if f"{name}.mask_logits" in values:
            assert_stored(upsampled(logits, size), values[f"{name}.mask_logits"])
    for setting in SETTINGS:
        released = upsampled(output.mask_logits, size).sigmoid()
        released[:, reference.seen] -= SEEN_SCORE_OFFSET[setting]
        if f"{setting}.scores" in values:
            assert_stored(released, values[f"{setting}.scores"])


@torch.no_grad()
@pytest.mark.parametrize("case", FILES)
def test_both_paths_of_the_naive_twin(case: str) -> None:
    reference = golden(case)
    values = reference.values
    paths = naive_paths(
        reference, values["image"], values["text_embeddings"], reference.model.network_state
    )
    assert_close(paths["score"], values["mps.score"])
    assert_close(0.5 * (paths["score"] + paths["decoder"]), released_logits(values))


@pytest.mark.parametrize(("case", "setting"), STEPS)
def test_sliding_windows(case: str, setting: str) -> None:
    reference = golden(case)
    values, network = reference.values, reference.network()
    text = values["text_embeddings"]
    options = slide_options(reference, setting, training_size(reference))
    image = slide_image(values, setting)
    scores = sliding_scores(network, image, text, **options, window_batch=1)
    assert_stored(scores, values[f"{setting}.slide.scores"])
    labels = sliding_labels(network, image, text, **options, window_batch=1)
    assert_same_labels(labels, scores, values[f"{setting}.slide.labels"])
    together = sliding_scores(network, image, text, **options)  # they stop at another time
    torch.testing.assert_close(together, scores, atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(("case", "setting"), STEPS)
def test_sliding_windows_of_the_naive_twin(case: str, setting: str) -> None:
    reference = golden(case)
    values, state = reference.values, reference.model.network_state
    text = values["text_embeddings"]
    scores = naive_sliding.sliding_scores(
        lambda window: sum(naive_paths(reference, window, text, state).values()) / 2,
        slide_image(values, setting),
        patch=reference.model.vision["patch_size"],
        **slide_options(reference, setting, training_size(reference)),
    )
    assert_stored(scores, values[f"{setting}.slide.scores"])
    assert_same_labels(scores.argmax(1), scores, values[f"{setting}.slide.labels"])


@pytest.mark.parametrize("case", FILES)
def test_windows_of_another_size(case: str) -> None:
    reference = golden(case)
    values = reference.values
    image = values["resized.image"]
    size = (image.shape[2], image.shape[3])
    options = slide_options(reference, "inductive", training_size(reference))
    options |= {"output_size": size, "crop": max(size), "stride": max(size)}
    scores = sliding_scores(reference.network(), image, values["text_embeddings"], **options)
    assert_stored(scores, values["resized.scores"])


def slide_image(values: dict[str, Tensor], setting: str) -> Tensor:
    return values.get(f"{setting}.slide.image", values["inductive.slide.image"])


def assert_same_labels(labels: Tensor, scores: Tensor, expected: Tensor) -> None:
    """Wherever the scores, which are as released, decide by more than the tolerance."""
    decided = decided_pixels(scores)
    assert decided.float().mean() > 0.9
    assert torch.equal(labels[decided], expected.long()[decided])


Step = tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]
"""Terms of the loss by released name, targets, and gradients by our names."""


def fast_step(case: Golden, setting: str) -> Step:
    network = case.network()
    labels = case.values[f"{setting}.train.labels"].squeeze(1).long()
    output = network(case.values["image"], training_text(case, setting))
    if setting == "inductive":
        targets = inductive_targets(labels, case.seen)
    else:
        targets = transductive_targets(labels, output.mask_logits, case.seen, case.unseen)
    loss = SegmentationLoss(LossSettings())

    def segmentation(logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        terms = loss(logits, targets)
        return {"mask": terms.focal, "dice": terms.dice}

    terms = dict(network.head.loss_terms(output, targets, segmentation))
    sum(terms.values()).backward()
    grads = {name: p.grad for name, p in network.trained_parameters().items()}
    assert all(grad is not None for grad in grads.values())
    return terms, targets, grads


def naive_step(case: Golden, setting: str) -> Step:
    trained = case.network().trained_parameters().keys()
    state = {
        name: value.clone().requires_grad_(name in trained)
        for name, value in case.model.network_state.items()
    }
    labels = case.values[f"{setting}.train.labels"].squeeze(1).long()
    paths = naive_paths(case, case.values["image"], training_text(case, setting), state)
    mixed = (sum(paths.values()) / 2).detach()
    targets = naive_targets(labels, mixed, case, setting)
    terms = {}
    for path, logits in paths.items():
        focal, dice = focal_and_dice(logits, targets, alpha=0.25, gamma=2.0)
        terms |= {f"{path}_mask": 100 * focal, f"{path}_dice": dice}
    sum(terms.values()).backward()
    return terms, targets, {name: state[name].grad for name in trained}


@pytest.mark.parametrize("step", [fast_step, naive_step])
@pytest.mark.parametrize(("case", "setting"), STEPS)
def test_losses_pseudo_labels_and_gradients(case: str, setting: str, step: Any) -> None:
    reference = golden(case)
    values = reference.values
    terms, targets, grads = step(reference, setting)
    for path, theirs in (("decoder", "decode"), ("score", "score")):
        for name in ("mask", "dice"):
            released = values[f"{setting}.train.{theirs}.loss_{name}"][0]
            assert_near(terms.pop(f"{path}_{name}").detach(), released, f"{path} {name}")
    assert not terms
    if setting == "transductive":
        expected = values["transductive.train.pseudo_labels"].squeeze(1).long()
        size = (expected.shape[1], expected.shape[2])
        unseen = upsampled(released_logits(values), size)[:, reference.unseen]
        decided = decided_pixels(unseen)
        assert decided.float().mean() > 0.9
        assert torch.equal(targets[decided], expected[decided])
    ours = reference.model.family.to_released(grads)
    for prefix, of in ((f"{setting}.grad_norm.", Tensor.norm), (f"{setting}.grad.", Tensor.clone)):
        names = [name for name in values if name.startswith(prefix)]
        assert names
        for name in names:
            actual = of(ours[name.removeprefix(prefix)])
            assert_near(actual, values[name].reshape(actual.shape), name)


@pytest.mark.parametrize("case", cases_in(DATA, "otseg"))
def test_what_trains_is_what_the_released_code_trains(case: str) -> None:
    reference = golden(case)
    ours = reference.model.family.to_released(reference.network().trained_parameters()).keys()
    listed = {name.partition(".grad_norm.")[2] for name in reference.values}
    assert ours == listed - {""}


@pytest.mark.parametrize("problem", ["a", "b"])
@pytest.mark.parametrize("version", ["fast", "naive"])
@pytest.mark.parametrize("case", FILES)
def test_transport_plans_and_their_gradients(case: str, version: str, problem: str) -> None:
    values = golden(case).values
    cosines = values[f"sinkhorn.{problem}.cosines"].clone().requires_grad_()  # (P, N, K)
    if version == "fast":
        plans = transport_plans(cosines.mT, None).mT
    else:
        plans = torch.stack(naive_sinkhorn.transport_plans(list(cosines)))
    assert_close(plans.detach(), values[f"sinkhorn.{problem}.plan"])
    (plans * cosines).sum().backward()
    assert_near(cosines.grad, values[f"sinkhorn.{problem}.grad"], "the gradient")
