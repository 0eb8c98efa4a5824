"""Networks in lower precision against the ones they were made of."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.model.build import build_network, build_settings, random_text
from torch import Tensor, nn

from cascade_clip.checkpoint.folder import load_bundle
from cascade_clip.clip.load import build_clip
from cascade_clip.errors import UserError
from cascade_clip.model.fast.blocks import BFloat16Linear
from cascade_clip.model.fast.precision import Int8Linear, at_precision, choose_precision, quantise
from cascade_clip.model.network import SegmentationNetwork

CPU = torch.device("cpu")
needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="8-bit products need oneDNN"
)
LOWER = ["bf16", pytest.param("int8", marks=needs_onednn)]


def test_full_precision_is_the_network_itself() -> None:
    network = build_network()
    assert at_precision(network, "fp32") is network


@pytest.mark.parametrize("precision", LOWER)
@pytest.mark.parametrize(
    "encoder",
    [{}, {"tuning": "shallow-prompts", "prompts": 1}, {"tuning": "spectral-prompts", "prompts": 2}],
)
@pytest.mark.parametrize("head", [{}, {"decoder": "spectral"}, {"stages": ((4,),)}])
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


@needs_onednn
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_8_bit_layer_equals_the_formula(scale: float) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(16, 32), torch.randn(16)
    weight[3] = 0.0  # an output that takes nothing in
    inputs = scale * torch.randn(2, 7, 32)
    step, weight_steps = scale_of(inputs), weight.abs().amax(1).clamp(min=1e-30) / 127
    quantised = (inputs / step).round() @ (weight / weight_steps[:, None]).round().T
    expected = quantised * step * weight_steps + bias
    actual = Int8Linear(weight, bias)(inputs).float()
    torch.testing.assert_close(actual, expected, rtol=1e-2, atol=1e-2 * expected.std().item())


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


@needs_onednn
def test_8_bit_layer_takes_zeros() -> None:
    bias = torch.tensor([1.0, -2.0, 0.5, 3.0])
    outputs = Int8Linear(torch.randn(4, 8), bias)(torch.zeros(3, 8))
    assert torch.equal(outputs.float(), bias.expand(3, -1))


def test_choices() -> None:
    assert choose_precision("auto", CPU) in ("bf16", "fp32")
    assert choose_precision("fp32", CPU) == "fp32" and choose_precision("bf16", CPU) == "bf16"
    with pytest.raises(UserError, match="auto, fp32, bf16, int8"):
        choose_precision("half", CPU)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="CPUs with oneDNN"):
        choose_precision("int8", torch.device("meta"))


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
