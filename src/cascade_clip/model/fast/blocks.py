"""The layers of open_clip's transformer blocks in their fastest form, in several precisions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from cascade_clip.errors import UserError
from cascade_clip.model.block import Block
from cascade_clip.model.fast.caching import WeightCache

QUICK_GELU_SLOPE = 1.702
"""QuickGELU(x) = x sigmoid(1.702 x) = silu(1.702 x) / 1.702. Both factors go into the matrix
products beside it: one pass over a block's widest tensor, and one copy of it for the backward."""


class RunBlock(Protocol):
    """A transformer block, as `Block`."""

    def __call__(
        self, tokens: Tensor, prompts: Tensor | None = None, mask: Tensor | None = None, /
    ) -> Tensor:
        """Tokens (B, M, D), prompts (B or 1, P, D) and mask, if any, to tokens (B, M, D)."""


def fast_blocks(
    resblocks: Iterable[Any], cache: WeightCache, device: torch.device, recompute: bool
) -> list[RunBlock]:
    """The blocks of open_clip's encoder, as is fastest on a device.

    Under bfloat16 autocast frozen ones have weights that were converted once instead of at every
    call. With `recompute` nothing but their inputs is kept for the backward pass.
    """
    blocks, kind = list(resblocks), device.type
    autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    if autocast == torch.bfloat16 and not torch.compiler.is_compiling():
        frozen = [block for block in blocks if has_plain_attention(block) and not _trains(block)]
        lowered = dict(zip(frozen, cache.get(lower_blocks, *frozen), strict=True))
        blocks = [lowered.get(block, block) for block in blocks]
    fast = [fast_block(block) for block in blocks]
    if not (recompute and torch.is_grad_enabled()):
        return fast
    # Blocks have no dropout, so no random state needs to be kept.
    again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
    return [partial(again, block) for block in fast]


def fast_block(block: Any) -> RunBlock:
    """One block, in its fastest form."""
    if isinstance(block, LowPrecisionBlock):
        return block
    return OpenClipBlock(block) if has_plain_attention(block) else partial(_run_whole, block)


def plain_block(block: Any) -> Block:
    """A block whose layers can be used by themselves. Raises `UserError` for custom attention."""
    fast = fast_block(block)
    if not isinstance(fast, Block):
        raise UserError(
            "this needs blocks with CLIP's own attention; those of this CLIP have another"
        )
    return fast


def _run_whole(
    block: Any, tokens: Tensor, prompts: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """A block of open_clip's with custom attention, for which prompts are tokens like others."""
    batch, count, _ = tokens.shape
    if prompts is not None:
        tokens = torch.cat([tokens, prompts.expand(batch, -1, -1)], dim=1)
        if mask is not None:
            mask = torch.cat([mask, mask.new_ones(prompts.shape[1], mask.shape[1])])
    if mask is not None:  # open_clip adds it
        mask = torch.zeros_like(mask, dtype=tokens.dtype).masked_fill_(~mask, -torch.inf)
    return block(tokens, attn_mask=mask)[:, :count]


class OpenClipBlock(Block):
    """A block of open_clip's, with its own weights."""

    def __init__(self, block: Any) -> None:
        attn, mlp, slope = block.attn, block.mlp, _slope(block)
        width, weight, bias = attn.embed_dim, attn.in_proj_weight, attn.in_proj_bias
        self.heads = attn.num_heads
        self.ln_1, self.ls_1, self.ln_2, self.ls_2 = block.ln_1, block.ls_1, block.ln_2, block.ls_2
        self.query = partial(F.linear, weight=weight[:width], bias=bias[:width])
        self.key_value = partial(F.linear, weight=weight[width:], bias=bias[width:])
        self.out = attn.out_proj
        self.expand = partial(_scaled_linear, mlp.c_fc, slope, slope)
        self.activation = _activation(block)
        self.contract = partial(_scaled_linear, mlp.c_proj, 1 / slope, 1.0)


class BFloat16Linear(nn.Module):
    """A linear layer in bfloat16: inputs of any floating type, outputs bfloat16."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().bfloat16())
        self.register_buffer("bias", bias.detach().bfloat16())

    def forward(self, inputs: Tensor) -> Tensor:
        return F.linear(inputs.to(self.weight.dtype), self.weight, self.bias)


class RoundedNorm(nn.Module):
    """A LayerNorm whose result is rounded to `dtype`."""

    def __init__(self, norm: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.norm = copy.deepcopy(norm)
        self.dtype = dtype

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(tokens).to(self.dtype)


class LowPrecisionBlock(Block, nn.Module):
    """A block of open_clip whose matrix products are modules that `convert` made of (weight, bias).

    LayerNorms and residual sums stay as they are; what a LayerNorm gives is rounded once, to
    `dtype`, for all products that take it.
    """

    def __init__(
        self, block: Any, convert: Callable[[Tensor, Tensor], nn.Module], dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = RoundedNorm(block.ln_1, dtype), RoundedNorm(block.ln_2, dtype)
        self.ls_1, self.ls_2 = copy.deepcopy(block.ls_1), copy.deepcopy(block.ls_2)
        self.heads = block.attn.num_heads
        self.activation = _activation(block)
        slope = _slope(block)
        width, attn, mlp = block.attn.embed_dim, block.attn, block.mlp
        weight, bias = attn.in_proj_weight.detach(), attn.in_proj_bias.detach()
        self.query = convert(weight[:width], bias[:width])
        self.key_value = convert(weight[width:], bias[width:])
        self.out = convert(attn.out_proj.weight.detach(), attn.out_proj.bias.detach())
        self.expand = convert(slope * mlp.c_fc.weight.detach(), slope * mlp.c_fc.bias.detach())
        self.contract = convert(mlp.c_proj.weight.detach() / slope, mlp.c_proj.bias.detach())


def lower_blocks(*blocks: Any) -> list[LowPrecisionBlock]:
    """Blocks of open_clip's in bfloat16."""
    return [LowPrecisionBlock(block, BFloat16Linear, torch.bfloat16) for block in blocks]


def has_plain_attention(block: Any) -> bool:
    """Whether a block attends as CLIP's do, not in a custom way of open_clip's."""
    return isinstance(getattr(block, "attn", None), nn.MultiheadAttention)


def _trains(block: Any) -> bool:
    return any(weight.requires_grad for weight in block.parameters())


def _activation(block: Any) -> Callable[[Tensor], Tensor]:
    """What lies between `expand` and `contract`; for QuickGELU SiLU, see `QUICK_GELU_SLOPE`."""
    return _silu if has_quick_gelu(block) else block.mlp.gelu


def _silu(hidden: Tensor) -> Tensor:
    return F.silu(hidden, inplace=not torch.is_grad_enabled())


def _slope(block: Any) -> float:
    return QUICK_GELU_SLOPE if has_quick_gelu(block) else 1.0


def has_quick_gelu(block: Any) -> bool:
    """Whether a block of open_clip has OpenAI's activation, x sigmoid(1.702 x)."""
    return type(block.mlp.gelu).__name__ == "QuickGELU"


def _scaled_linear(linear: nn.Linear, scale: float, bias_scale: float, inputs: Tensor) -> Tensor:
    """`scale * x W^T + bias_scale * b`, in one matrix product."""
    if scale == bias_scale == 1.0:
        return linear(inputs)
    rows = inputs.flatten(0, -2)  # (rows, inputs)
    product = torch.addmm(linear.bias, rows, linear.weight.T, beta=bias_scale, alpha=scale)
    return product.unflatten(0, inputs.shape[:-1])
