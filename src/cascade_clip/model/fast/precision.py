"""Networks for inference in lower precision: weights converted once, not at every call.

Matrix products run in bfloat16 or with 8-bit integers; the residual stream, LayerNorms, the
normalised features and the mask scores keep the network's own precision. What 8-bit products give
is bfloat16 where the CPU multiplies that fast, else float32.
"""

from __future__ import annotations

import copy
from collections.abc import Set
from functools import partial
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from cascade_clip.config.base import PrecisionChoice
from cascade_clip.errors import UserError
from cascade_clip.model.embedding import LevelProjections
from cascade_clip.model.fast.blocks import BFloat16Linear, LowPrecisionBlock, has_plain_attention
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.training_free.network import TrainingFreeNetwork
from cascade_clip.support.messages import did_you_mean
from cascade_clip.support.processor import (
    adds_8_bit_products_in_32_bits,
    cpu_features,
    multiplies_bfloat16,
    why_slower,
)

Precision = Literal["fp32", "bf16", "int8"]

ClipNetwork = SegmentationNetwork | TrainingFreeNetwork
Network = TypeVar("Network", bound=ClipNetwork)

CHUNK_ELEMENTS = 2**18
"""How many values are rounded to 8 bits at once."""


class Int8Linear(nn.Module):
    """A linear layer over 8-bit integers, for CPUs: outputs of type `outputs`.

    Weights are scaled per output channel to `largest`, inputs per call by their range.
    """

    weight: Tensor
    bias: Tensor
    weight_scale: Tensor
    zero_points: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, outputs: torch.dtype, largest: int) -> None:
        super().__init__()
        self.outputs = outputs
        scale = (weight.abs().amax(dim=1) / largest).clamp(min=torch.finfo(torch.float32).tiny)
        integers = (weight / scale[:, None]).round().to(torch.int8)  # (outputs, inputs)
        self.register_buffer("weight", torch.ops.onednn.qlinear_prepack(integers, None))
        self.register_buffer("bias", bias.float())
        self.register_buffer("weight_scale", scale.float())
        self.register_buffer("zero_points", torch.zeros(len(scale), dtype=torch.int64))

    def forward(self, inputs: Tensor) -> Tensor:
        integers, scale, zero = quantise(inputs.flatten(0, -2))
        outputs: Tensor = torch.ops.onednn.qlinear_pointwise(
            integers, scale, zero,
            self.weight, self.weight_scale, self.zero_points, self.bias,
            1.0, 0, self.outputs, "none", [], "",
        )  # fmt: skip
        return outputs.unflatten(0, inputs.shape[:-1])


def quantise(values: Tensor) -> tuple[Tensor, float, int]:
    """Integers (uint8), scale and zero: values (rows, inputs) = scale * (integers - zero), nearly.

    Unsigned, because signed inputs have no fast product on processors without AMX. They are rounded
    as signed ones and moved by a flip of the highest bit, which takes a fraction of the time of a
    conversion to uint8; some rows at a time, within the cache. Of the 256 steps two are left, so
    that no rounding leaves the range.
    """
    low, high = (bound.item() for bound in torch.aminmax(values))
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 253, 1e-12)
    zero = 1 + round(-low / scale)
    middle = torch.tensor(zero - 128.0)
    integers = torch.empty(values.shape, dtype=torch.int8)
    rows = max(1, CHUNK_ELEMENTS // values.shape[1])
    for part, source in zip(integers.split(rows), values.split(rows), strict=True):
        part.copy_(torch.add(middle, source.float(), alpha=1 / scale).round_())
    return integers.view(torch.uint8).bitwise_xor_(128), scale, zero


def int8_linear(features: Set[str]) -> partial[Int8Linear]:
    """Makes layers in the form that is right and fast on a CPU with these `cpu_features`.

    oneDNN has no fast 8-bit product with outputs in bfloat16 for CPUs without its instructions.
    Where pairs of products are added in 16 bits, weights are halved: 2 * 255 * 64 < 2^15.
    """
    return partial(
        Int8Linear,
        outputs=torch.bfloat16 if multiplies_bfloat16(features) else torch.float32,
        largest=127 if adds_8_bit_products_in_32_bits(features) else 64,
    )


def choose_precision(
    choice: PrecisionChoice, device: torch.device, features: Set[str] | None = None
) -> Precision:
    """What `auto` means on a device: bf16 where the hardware multiplies it, else fp32.

    `features` are those of the CPU; None: of this one. Raises `UserError` for an unknown choice,
    for int8 where it can't run, and for what would be slower than fp32 on the CPU.
    """
    if choice not in get_args(PrecisionChoice):
        known = get_args(PrecisionChoice)
        hint = did_you_mean(str(choice), known)
        raise UserError(f"unknown precision '{choice}'; use one of {', '.join(known)}{hint}")
    features = cpu_features() if features is None else features
    if choice == "auto":
        return "bf16" if _multiplies_bfloat16(device, features) else "fp32"
    if choice == "int8" and device.type != "cpu":
        raise UserError(f"precision 'int8' runs on CPUs only, not on '{device}'; use bf16 or auto")
    if device.type == "cpu" and (reason := why_slower(choice, features)):
        raise UserError(f"precision '{choice}': {reason}; use fp32 or auto")
    return choice


def _multiplies_bfloat16(device: torch.device, features: Set[str]) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and multiplies_bfloat16(features)


@torch.no_grad()
def at_precision(network: Network, precision: Precision) -> Network:
    """The network itself for fp32; else a copy, in evaluation mode, that computes in `precision`.

    The copy does not follow later changes of the weights, can't be trained or saved, and stays on
    the device where it was made. With int8, the encoder's blocks multiply 8-bit integers and the
    rest bfloat16, or float32 where the CPU multiplies that faster. Blocks with custom
    attention keep fp32, as does all of a head but its `low_precision_parts`.
    """
    if precision == "fp32":
        return network
    features = cpu_features()
    blocks = network.encoder.visual.transformer.resblocks
    converted = {id(block): block for block in blocks if has_plain_attention(block)}
    # What is converted below need not be copied first: a CLIP is large.
    copied = copy.deepcopy(network, dict(converted))
    visual = copied.encoder.visual
    linear = int8_linear(features) if precision == "int8" else BFloat16Linear
    rest = torch.bfloat16 if precision == "bf16" or multiplies_bfloat16(features) else torch.float32
    for name, block in visual.transformer.resblocks.named_children():
        if id(block) in converted:
            setattr(visual.transformer.resblocks, name, LowPrecisionBlock(block, linear, rest))
    visual.conv1.to(rest)
    visual.proj.data = visual.proj.to(rest)
    _lower_additions(copied, rest)
    copied.eval().requires_grad_(False)
    return copied


def _lower_additions(network: ClipNetwork, dtype: torch.dtype) -> None:
    """What a trained network has beside CLIP."""
    if not isinstance(network, SegmentationNetwork):
        return
    projections = network.encoder.level_projections
    if isinstance(projections, LevelProjections):
        projections.weights.data = projections.weights.to(dtype)
    if dtype == torch.bfloat16:
        for part in network.head.low_precision_parts():
            _convert_linears(part)


def _convert_linears(module: nn.Module) -> None:
    """Puts a `BFloat16Linear` in the place of every linear layer below `module`."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, BFloat16Linear(child.weight, child.bias))
        else:
            _convert_linears(child)
