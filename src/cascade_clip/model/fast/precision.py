"""Networks for inference in lower precision: weights converted once, not at every call.

Matrix products run in bfloat16 or with 8-bit integers; the residual stream, LayerNorms, the
normalised features and the mask scores keep the network's own precision.
"""

from __future__ import annotations

import copy
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from cascade_clip.errors import UserError
from cascade_clip.model.decoder import Decoder
from cascade_clip.model.fast.blocks import BFloat16Linear, LowPrecisionBlock, has_plain_attention
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.projection import LevelProjections
from cascade_clip.support.nearest import did_you_mean

Precision = Literal["fp32", "bf16", "int8"]
PrecisionChoice = Literal["auto", "fp32", "bf16", "int8"]

CHUNK_ELEMENTS = 2**18
"""How many values are rounded to 8 bits at once."""


class Int8Linear(nn.Module):
    """A linear layer over 8-bit integers, for CPUs: outputs bfloat16.

    Weights are scaled per output channel, inputs per call by their range.
    """

    weight: Tensor
    bias: Tensor
    weight_scale: Tensor
    zero_points: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        scale = (weight.abs().amax(dim=1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
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
            1.0, 0, torch.bfloat16, "none", [], "",
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


def choose_precision(choice: PrecisionChoice, device: torch.device) -> Precision:
    """What `auto` means on a device: bf16 where the hardware multiplies it, else fp32.

    Raises `UserError` for an unknown choice, and for int8 where it can't run.
    """
    if choice not in get_args(PrecisionChoice):
        known = get_args(PrecisionChoice)
        hint = did_you_mean(str(choice), known)
        raise UserError(f"unknown precision '{choice}'; use one of {', '.join(known)}{hint}")
    if choice == "auto":
        return "bf16" if _multiplies_bfloat16(device) else "fp32"
    if choice == "int8" and not (device.type == "cpu" and torch.backends.mkldnn.is_available()):
        raise UserError(
            f"precision 'int8' runs on CPUs with oneDNN only, not on '{device}'; use bf16 or auto"
        )
    return choice


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


@torch.no_grad()
def at_precision(network: SegmentationNetwork, precision: Precision) -> SegmentationNetwork:
    """The network itself for fp32; else a copy, in evaluation mode, that computes in `precision`.

    The copy does not follow later changes of the weights, can't be trained or saved, and stays on
    the device where it was made. With int8, the encoder's blocks multiply 8-bit integers and the
    rest bfloat16. Spectral decoders and blocks with custom attention keep fp32.
    """
    if precision == "fp32":
        return network
    blocks = network.encoder.visual.transformer.resblocks
    converted = {id(block): block for block in blocks if has_plain_attention(block)}
    # What is converted below need not be copied first: a CLIP is large.
    copied: SegmentationNetwork = copy.deepcopy(network, dict(converted)).eval()
    encoder = copied.encoder
    linear = Int8Linear if precision == "int8" else BFloat16Linear
    for name, block in encoder.visual.transformer.resblocks.named_children():
        if id(block) in converted:
            setattr(encoder.visual.transformer.resblocks, name, LowPrecisionBlock(block, linear))
    encoder.visual.conv1.bfloat16()
    encoder.visual.proj.data = encoder.visual.proj.bfloat16()
    if isinstance(encoder.level_projections, LevelProjections):
        encoder.level_projections.weights.data = encoder.level_projections.weights.bfloat16()
    for decoder in copied.head.decoders:
        if isinstance(decoder, Decoder):
            _convert_linears(decoder.layers)
    return copied.requires_grad_(False)


def _convert_linears(module: nn.Module) -> None:
    """Puts a `BFloat16Linear` in the place of every linear layer below `module`."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, BFloat16Linear(child.weight, child.bias))
        else:
            _convert_linears(child)
