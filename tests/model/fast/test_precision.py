"""Networks in lower precision against the ones they were made of."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.model.build import build_network, build_settings, random_text
from torch import Tensor, nn

from cascade_clip.checkpoint.folder import load_bundle
from cascade_clip.clip.build import build_clip
from cascade_clip.errors import UserError
from cascade_clip.model.fast.blocks import BFloat16Linear
from cascade_clip.model.fast.precision import (
    PrecisionChoice,
    at_precision,
    choose_precision,
    int8_linear,
    quantise,
)
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.support.processor import cpu_features, why_slower

CPU = torch.device("cpu")
NO_INT8 = why_slower("int8", cpu_features())
needs_int8 = pytest.mark.skipif(NO_INT8 is not None, reason=str(NO_INT8))
LOWER = ["bf16", pytest.param("int8", marks=needs_int8)]

ZEN_1 = {"avx2", "fma3"}
SKYLAKE = {*ZEN_1, "avx512_f", "avx512_bw"}
CASCADE_LAKE = {*SKYLAKE, "avx512_vnni"}
ZEN_4 = {*CASCADE_LAKE, "avx512_bf16"}
GRAVITON_3 = {"neon", "bf16", "i8mm", "sve", "sve_bf16"}


def test_full_precision_is_the_network_itself() -> None:
    network = build_network()
    assert at_precision(network, "fp32") is network


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize(
    "encoder",
    [{}, {"tuning": "shallow-prompts", "prompts": 1}, {"tuning": "spectral-prompts", "prompts": 2}],
)
@pytest.mark.parametrize("head", [{}, {"kind": "spectral"}, {"stages": ((4,),)}])
def test_logits_are_near_and_the_original_stays_as_it_was(
    encoder: dict[str, object], head: dict[str, object], precision: str
) -> None:
    torch.manual_seed(0)
    network = build_network(build_settings(encoder, head))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    image, text = torch.randn(2, 3, 24, 32), random_text(5)
    with torch.no_grad():
        expected = network(image, text).mask_logits
        actual = at_precision(network, precision)(image, text).mask_logits
    error = (actual - expected).norm() / expected.norm()
    assert actual.dtype == torch.float32 and 0 < error < (0.02 if precision == "bf16" else 0.08)
    assert {name: p.requires_grad for name, p in network.named_parameters()} == {
        name: p.requires_grad
        for name, p in build_network(build_settings(encoder, head)).named_parameters()
    }
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(after[name].dtype == before[name].dtype for name in before)


@pytest.mark.parametrize("precision", LOWER)
def test_labels_of_the_embedded_model_hardly_change(precision: str) -> None:
    network = load_bundle("picturebook").network
    torch.manual_seed(0)
    image, text = torch.rand(2, 3, 64, 64), nn.functional.normalize(torch.randn(9, 256), dim=-1)
    text = text[:, : network.encoder.embed_dim]
    text = nn.functional.normalize(text, dim=-1)
    with torch.no_grad():
        expected = network(image, text).mask_logits
        actual = at_precision(network, precision)(image, text).mask_logits
    margin = expected.topk(2, dim=1).values.diff(dim=1).abs().squeeze(1)
    decided = margin > 0.05 * expected.std()
    assert decided.float().mean() > 0.5
    agreement = (actual.argmax(1) == expected.argmax(1))[decided].float().mean()
    assert agreement > 0.99


def test_custom_attention_keeps_its_precision() -> None:
    torch.manual_seed(0)
    vision = {"layers": 4, "width": 24, "head_width": 8, "patch_size": 8, "image_size": 32}
    text_cfg = {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1}
    visual = build_clip(16, vision | {"qk_norm": True}, text_cfg).visual
    network = SegmentationNetwork(visual, build_settings({"tuning": "full"})).eval()
    low = at_precision(network, "bf16")
    assert all(parameter.requires_grad for parameter in network.encoder.visual.parameters())
    block = low.encoder.visual.transformer.resblocks[0]
    assert block.attn.in_proj_weight.dtype == torch.float32
    with torch.no_grad():
        low(torch.randn(1, 3, 16, 16), random_text(2))


def test_bfloat16_layer_rounds_weights_once() -> None:
    torch.manual_seed(0)
    weight, bias, inputs = torch.randn(5, 8), torch.randn(5), torch.randn(2, 3, 8)
    expected = nn.functional.linear(inputs.bfloat16(), weight.bfloat16(), bias.bfloat16())
    assert torch.equal(BFloat16Linear(weight, bias)(inputs), expected)


@needs_int8
@pytest.mark.parametrize("largest", [64, 127])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_8_bit_layer_equals_the_formula(scale: float, largest: int) -> None:
    linear = int8_linear(cpu_features())
    if linear.keywords["largest"] < largest:
        pytest.skip("sums of 8-bit products overflow on this CPU")
    torch.manual_seed(0)
    weight, bias = torch.randn(16, 32), torch.randn(16)
    weight[3] = 0.0  # an output that takes nothing in
    inputs = scale * torch.randn(2, 7, 32)
    step, weight_steps = scale_of(inputs), weight.abs().amax(1).clamp(min=1e-30) / largest
    quantised = (inputs / step).round() @ (weight / weight_steps[:, None]).round().T
    expected = quantised * step * weight_steps + bias
    actual = linear(weight, bias, largest=largest)(inputs).float()
    torch.testing.assert_close(actual, expected, rtol=1e-2, atol=1e-2 * expected.std().item())


@needs_int8
def test_the_largest_8_bit_sums_do_not_overflow() -> None:
    weight, inputs = torch.ones(16, 64), torch.ones(3, 64)
    actual = int8_linear(cpu_features())(weight, torch.zeros(16))(inputs)
    torch.testing.assert_close(actual.float(), torch.full((3, 16), 64.0), rtol=1e-2, atol=0)


def scale_of(values: Tensor) -> float:
    """Two of the 256 steps are left for rounding."""
    return float(values.max().clamp(min=0) - values.min().clamp(max=0)) / 253


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("low, high", [(-3.0, 5.0), (0.0, 1.0), (2.0, 9.0), (-7.0, -1e-3)])
def test_integers_stand_for_the_values(low: float, high: float, dtype: torch.dtype) -> None:
    values = torch.linspace(low, high, 1001).to(dtype).unflatten(0, (7, 143))
    integers, scale, zero = quantise(values)
    restored = scale * (integers.float() - zero)
    assert integers.dtype == torch.uint8
    assert scale == pytest.approx(scale_of(values.float()), rel=1e-3)
    assert (restored - values.float()).abs().max() <= 0.501 * scale


@pytest.mark.parametrize("step", [0.1, 0.37, 1.7])
def test_no_rounding_leaves_the_range_of_bytes(step: float) -> None:
    for below in range(0, 252, 2):  # half a step, rounded to even, at either end of the range
        values = step * torch.tensor([[-below - 0.5, 252.5 - below]])
        integers, scale, zero = quantise(values)
        error = scale * (integers.float() - zero) - values
        assert error.abs().max() < 0.51 * scale


@needs_int8
def test_8_bit_layer_takes_zeros() -> None:
    bias = torch.tensor([1.0, -2.0, 0.5, 3.0])
    layer = int8_linear(cpu_features())(torch.randn(4, 8), bias)
    outputs = layer(torch.zeros(3, 8))
    assert torch.equal(outputs.float(), bias.expand(3, -1))


def test_unknown_choices() -> None:
    with pytest.raises(UserError, match="auto, fp32, bf16, int8"):
        choose_precision("half", CPU)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="CPUs only"):
        choose_precision("int8", torch.device("meta"))


@pytest.mark.parametrize(
    ("features", "auto", "refused"),
    [
        (ZEN_1, "fp32", {"bf16"}),
        (SKYLAKE, "fp32", {"bf16"}),
        (CASCADE_LAKE, "fp32", {"bf16"}),
        (ZEN_4, "bf16", set()),
        (GRAVITON_3, "fp32", {"bf16", "int8"}),
        (set(), "fp32", {"bf16", "int8"}),
    ],
)
def test_a_precision_that_is_slower_on_the_cpu_is_refused(
    features: set[str], auto: str, refused: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert choose_precision("auto", CPU, features) == auto
    choices: list[PrecisionChoice] = ["fp32", "bf16", "int8"]
    for choice in choices:
        if choice in refused:
            with pytest.raises(UserError, match=f"'{choice}': .*; use fp32 or auto"):
                choose_precision(choice, CPU, features)
        else:
            assert choose_precision(choice, CPU, features) == choice


def test_int8_needs_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(UserError, match="PyTorch with oneDNN"):
        choose_precision("int8", CPU, ZEN_4)


def test_bfloat16_elsewhere_than_on_the_cpu_is_not_the_cpus_concern() -> None:
    assert choose_precision("bf16", torch.device("meta"), ZEN_1) == "bf16"


@pytest.mark.parametrize(
    ("features", "outputs", "largest"),
    [
        (ZEN_1, torch.float32, 64),
        (SKYLAKE, torch.float32, 64),
        (CASCADE_LAKE, torch.float32, 127),
        (ZEN_4, torch.bfloat16, 127),
    ],
)
def test_form_of_8_bit_layers(features: set[str], outputs: torch.dtype, largest: int) -> None:
    made = int8_linear(features).keywords
    assert made == {"outputs": outputs, "largest": largest}


def test_a_copy_does_not_follow_the_original() -> None:
    torch.manual_seed(0)
    network = build_network()
    low = at_precision(network, "bf16")
    image, text = torch.randn(1, 3, 16, 16), random_text(2)
    with torch.no_grad():
        before: Tensor = low(image, text).mask_logits
        for parameter in network.parameters():
            parameter.add_(1.0)
        assert torch.equal(low(image, text).mask_logits, before)
    assert copy.deepcopy(network).training == network.training
