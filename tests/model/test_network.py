"""The network against its naive twin, its promises about gradients, classes, and states."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_clip.clip.build import build_clip
from cascade_clip.config import EncoderSettings, ModelSettings
from cascade_clip.errors import UserError
from cascade_clip.model.decoder import IDENTITY_LOGIT_SCALE
from cascade_clip.model.heads.spectral import FrequencyMixer
from cascade_clip.model.network import SegmentationNetwork
from tests.model.build import build_network, build_settings, build_visual, random_text
from tests.naive.network import NaiveSizes, naive_forward

AGGREGATIONS = (
    "nga",
    "nga-fixed",
    "sum",
    "sum-trained",
    "mean",
    "concat",
    "self-attention",
    "last",
)
LEVEL_PROJECTIONS = ("random-frozen", "random-trained", "clip-frozen", "clip-trained", "value-path")
TUNINGS: tuple[dict[str, Any], ...] = (
    {"tuning": "deep-prompts", "prompts": 3},
    {"tuning": "shallow-prompts", "prompts": 2},
    {"tuning": "spectral-prompts", "prompts": 2},
    {"tuning": "relationship-prompts", "prompts": 2},
    {"tuning": "frozen", "prompts": 0},
    {"tuning": "last-blocks", "prompts": 0, "tuned_blocks": 2},
    {"tuning": "full", "prompts": 0},
    {"tuning": "deep-prompts", "prompts": 2, "regions": 2},
    {"tuning": "shallow-prompts", "prompts": 1, "regions": 3},
    {"tuning": "frozen", "prompts": 0, "regions": 2},
)
DECODERS: tuple[dict[str, Any], ...] = (
    {"decoder_heads": 1},
    {"decoder_heads": 2, "decoder_start": "identity"},
    {"decoder_heads": 4},
    {"decoder_heads": 8, "decoder_start": "identity"},
    {"kind": "spectral", "decoder_heads": 2},
    {"kind": "spectral", "decoder_heads": 8},
)
STAGES = (((4,),), ((1, 2, 3, 4),), ((1, 2), (3,), (4,)), ((1, 3), (2,)), ((2, 3, 4),))


@st.composite
def encoder_settings(draw: st.DrawFn) -> EncoderSettings:
    return EncoderSettings(
        **draw(st.sampled_from(TUNINGS)),
        level_projection=draw(st.sampled_from(LEVEL_PROJECTIONS)),
        class_embedding_twice=draw(st.booleans()),
        stored_grid=draw(st.sampled_from((None, 3, 6))),
    )


@st.composite
def head_settings(draw: st.DrawFn) -> dict[str, Any]:
    stages = draw(st.sampled_from(STAGES))
    kinds = AGGREGATIONS if any(len(stage) > 1 for stage in stages) else ("nga", "last", "mean")
    return {
        "stages": stages,
        "aggregation": draw(st.sampled_from(kinds)),
        "sigma": draw(st.sampled_from((0.8, 1.2))),
        "shared_queries": draw(st.booleans()),
        "relationship_descriptor": draw(st.booleans()),
        "decoder_layers": draw(st.integers(1, 3)),
        **draw(st.sampled_from(DECODERS)),
    }


def assert_equals_naive(
    network: SegmentationNetwork, heads: int, image: torch.Tensor, classes: int
) -> None:
    text, visual = random_text(classes), network.encoder.visual
    sizes = NaiveSizes(heads, tuple(visual.grid_size), quick_gelu=True)
    with torch.no_grad():
        fast = network(image, text)
        slow = naive_forward(network.state_dict(), network.settings, sizes, image, text)
    for block, feature in zip(fast.levels.blocks, fast.levels.features, strict=True):
        torch.testing.assert_close(feature, slow.features[block], atol=1e-5, rtol=1e-5)
    with_regions = fast.levels.blocks if network.settings.encoder.regions else ()
    for block, own in zip(with_regions, fast.levels.regions, strict=True):
        torch.testing.assert_close(own, slow.regions[block], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        fast.levels.global_embedding, slow.global_embedding, atol=1e-5, rtol=1e-5
    )
    scale = max(1.0, slow.mask_logits.abs().max().item())
    for ours, theirs in zip(fast.stage_logits, slow.stage_logits, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5 * scale, rtol=1e-4)
    torch.testing.assert_close(fast.mask_logits, slow.mask_logits, atol=1e-5 * scale, rtol=1e-4)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(encoder_settings(), head_settings(), st.integers(1, 5), st.integers(1, 5), st.integers(1, 9))
def test_equals_naive_twin(
    encoder: EncoderSettings, head: dict[str, Any], rows: int, columns: int, classes: int
) -> None:
    torch.manual_seed(rows + 10 * columns + 100 * classes)
    network = build_network(ModelSettings(encoder=encoder, head=head))
    assert_equals_naive(network, 3, torch.randn(2, 3, 8 * rows, 8 * columns), classes)


@pytest.mark.parametrize(
    ("encoder", "head"),
    [
        *(({}, {"aggregation": aggregation}) for aggregation in AGGREGATIONS),
        *(({"level_projection": projection}, {}) for projection in LEVEL_PROJECTIONS),
        *((tuning, {}) for tuning in TUNINGS),
    ],
)
def test_every_choice_equals_its_naive_twin(encoder: dict[str, Any], head: dict[str, Any]) -> None:
    torch.manual_seed(0)
    settings = ModelSettings(
        encoder=EncoderSettings(**{"prompts": 2, **encoder}),
        head={"stages": ((1, 2), (3,), (4,)), **head},
    )
    assert_equals_naive(build_network(settings), 3, torch.randn(1, 3, 24, 32), 3)


@pytest.mark.parametrize(
    "sizes",
    [
        {"depth": 24, "width": 16, "heads": 2, "patch": 4, "image": 16},
        {"depth": 4, "width": 20, "heads": 5, "patch": 32, "image": 96},
        {"depth": 4, "width": 8, "heads": 1, "patch": 7, "image": 21},
    ],
)
def test_equals_naive_twin_at_other_sizes(sizes: dict[str, int]) -> None:
    torch.manual_seed(0)
    stages = ((18, 19, 20), (21, 22, 23), (24,)) if sizes["depth"] == 24 else ((1, 2, 3), (4,))
    network = build_network(build_settings(head={"stages": stages}), **sizes)
    image = torch.randn(1, 3, 3 * sizes["patch"], 5 * sizes["patch"])
    assert_equals_naive(network, sizes["heads"], image, classes=5)


@pytest.mark.parametrize(
    ("tuning", "projection", "head"),
    [(tuning, projection, {}) for tuning in TUNINGS for projection in LEVEL_PROJECTIONS]
    + [(TUNINGS[0], "clip-trained", {"aggregation": name}) for name in AGGREGATIONS]
    + [(TUNINGS[2], "random-frozen", {"kind": "spectral"})],
)
def test_gradients_reach_exactly_the_trained_parameters(
    tuning: dict[str, Any], projection: str, head: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    encoder = tuning | {"level_projection": projection}
    head = {"stages": ((1, 2), (3, 4))} | head
    network = build_network(build_settings(encoder, head)).train()
    for module in network.modules():
        if isinstance(module, FrequencyMixer):  # a focus that sees no patch passes no gradient on
            module.register_forward_pre_hook(focus_on_input)
    network(torch.randn(2, 3, 32, 40), random_text(3)).mask_logits.square().sum().backward()
    with_gradient = {
        name
        for name, p in network.named_parameters()
        if p.grad is not None and (p.grad.abs().sum() > 0 or "key.bias" in name)
    }
    assert with_gradient == expected_trained(network, tuning, projection)
    assert with_gradient == network.trained_parameters().keys()


@torch.no_grad()
def focus_on_input(mixer: FrequencyMixer, inputs: tuple[torch.Tensor]) -> None:
    mixer.focus.copy_(mixer.mix(inputs[0]).mean((0, 1, 2)))


def expected_trained(
    network: SegmentationNetwork, tuning: dict[str, Any], projection: str
) -> set[str]:
    kinds = {
        "deep-prompts": ("encoder.prompts.", "encoder.prompt_norm."),
        "shallow-prompts": ("encoder.prompts.",),
        "spectral-prompts": (
            "encoder.prompts.",
            "encoder.prompt_norm.",
            "encoder.spectral_prompt.",
        ),
        "relationship-prompts": (
            "encoder.prompts.",
            "encoder.prompt_norm.",
            "encoder.relationship_prompts.",
        ),
        "frozen": (),
        "full": ("encoder.visual.",),
        "last-blocks": tuple(f"encoder.visual.transformer.resblocks.{i}." for i in (2, 3)),
    }[tuning["tuning"]]
    prefixes = (*kinds, "head.")
    if projection.endswith("trained"):
        prefixes += ("encoder.level_projections.",)
    return {name for name, _ in network.named_parameters() if name.startswith(prefixes)}


def test_released_settings_train_prompts_decoders_queries_and_gaussian_weights() -> None:
    settings = ModelSettings(encoder=EncoderSettings(prompts=50))
    with torch.device("meta"):
        vision = {"layers": 12, "width": 768, "head_width": 64, "patch_size": 16}
        network = SegmentationNetwork(build_clip(512, vision, {"layers": 1}).visual, settings)
    parts = {}
    for name, parameter in network.trained_parameters().items():
        part = ".".join(name.split(".")[:2])
        parts[part] = parts.get(part, 0) + parameter.numel()
    assert parts == {
        "encoder.prompts": 12 * 50 * 768 + 768 * 768 + 768,
        "encoder.prompt_norm": 2 * 768,
        "head.aggregations": 6,
        "head.query_projections": 3 * (1024 * 512 + 512),
        "head.decoders": 3 * (2 * (12 * 512**2 + 13 * 512) + 2 * (512**2 + 512)),
    }
    assert round(sum(parts.values()) / 1e6, 1) == 23.1  # the live part of the released 40.5 M


def test_frozen_clip_stays_in_evaluation_mode() -> None:
    network = build_network().train()
    assert network.training and network.head.training and network.encoder.prompts.training
    assert not any(module.training for module in network.encoder.visual.modules())


def test_dropout_of_prompts_differs_between_images_in_training_only() -> None:
    torch.manual_seed(0)
    network = build_network(build_settings({"prompts": 8, "prompt_dropout": 0.5}))
    image = torch.randn(1, 3, 16, 16).expand(2, -1, -1, -1)
    first, second = network.encoder(image).features[-1]
    assert torch.allclose(first, second, atol=1e-6)
    first, second = network.train().encoder(image).features[-1]
    assert (first - second).abs().max() > 1e-3


def test_a_class_does_not_depend_on_the_others() -> None:
    torch.manual_seed(0)
    network, image, text = build_network(), torch.randn(2, 3, 24, 16), random_text(6)
    with torch.no_grad():
        logits = network(image, text).mask_logits
        fewer = network(image, text[:4]).mask_logits
        order = torch.tensor([3, 0, 5, 1, 4, 2])
        permuted = network(image, text[order]).mask_logits
    torch.testing.assert_close(fewer, logits[:, :4], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(permuted, logits[:, order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("descriptor", [True, False])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_identity_start_gives_scaled_cosine_similarity(layers: int, descriptor: bool) -> None:
    torch.manual_seed(0)
    head = {
        "stages": ((4,),),
        "decoder_start": "identity",
        "decoder_layers": layers,
        "relationship_descriptor": descriptor,
    }
    network = SegmentationNetwork(build_visual(), build_settings(head=head)).eval()
    text = random_text(5)
    text = torch.nn.functional.normalize(text - text.mean(1, keepdim=True), dim=-1)
    with torch.no_grad():
        output = network(torch.randn(2, 3, 16, 16), text)
    similarity = text @ output.levels.features[0].transpose(1, 2)  # (B, C, N)
    expected = IDENTITY_LOGIT_SCALE * similarity
    torch.testing.assert_close(output.mask_logits.flatten(2), expected, atol=1e-2, rtol=1e-2)


def test_decoder_layers_start_as_copies_and_decoders_differ() -> None:
    network = SegmentationNetwork(build_visual(), build_settings())
    first, second = network.head.decoders[:2]
    assert torch.equal(first.layers[0].expand.weight, first.layers[1].expand.weight)
    assert torch.equal(first.layers[0].query.weight, first.scores.query.weight)
    assert not torch.equal(first.scores.query.weight, second.scores.query.weight)


@pytest.mark.parametrize("tuning", TUNINGS)
def test_adapter_state_moves_a_model_to_a_fresh_network(tuning: dict[str, Any]) -> None:
    torch.manual_seed(0)
    settings = build_settings(tuning)
    network = build_network(settings)
    adapter = network.adapter_state_dict()
    frozen = tuning["tuning"] not in ("full", "last-blocks")
    assert frozen == (not any(name.startswith("encoder.visual.") for name in adapter))
    other = SegmentationNetwork(build_visual(), settings).eval()
    clip = {n: v for n, v in network.state_dict().items() if n.startswith("encoder.visual.")}
    other.load_state_dict({**other.state_dict(), **clip})
    other.load_adapter_state_dict(adapter)
    image, text = torch.randn(1, 3, 16, 16), random_text(3)
    assert torch.equal(network(image, text).mask_logits, other(image, text).mask_logits)


def test_adapter_state_of_another_model_is_refused_and_changes_nothing() -> None:
    network = build_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = {n: torch.zeros_like(v) for n, v in network.adapter_state_dict().items()}
    state["head.decoders.0.scores.query.weight"] = torch.zeros(3, 3)
    state["surprise"] = state.pop("encoder.prompt_norm.weight")
    with pytest.raises(UserError) as error:
        network.load_adapter_state_dict(state)
    for part in ("missing encoder.prompt_norm.weight", "unexpected surprise", "(3, 3)"):
        assert part in str(error.value)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: build_network(build_settings(head={"stages": ((4, 5),)})), "has 4 blocks"),
        (lambda: build_network(build_settings(head={"decoder_heads": 3})), "use one of 1, 2, 4"),
        (
            lambda: build_network(
                build_settings({"tuning": "last-blocks", "prompts": 0, "tuned_blocks": 5})
            ),
            "has 4 blocks",
        ),
        (lambda: build_network()(torch.randn(1, 3, 20, 16), random_text(2)), "16 or 24"),
        (lambda: build_network()(torch.randn(1, 3, 5, 16), random_text(2)), "works: 8"),
        (lambda: build_network()(torch.randn(3, 16, 16), random_text(2)), r"\(B, 3, H, W\)"),
        (lambda: build_network()(torch.randn(1, 3, 16, 16), torch.randn(2, 8)), "16"),
    ],
)
def test_mistakes_are_named(change, message: str) -> None:
    with pytest.raises(UserError, match=message):
        change()
