"""One transformer block of CLIP's image encoder, with prompts that give keys and values only."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from cascade_clip.model.fast.attention import attend

QUICK_GELU_SLOPE = 1.702
"""QuickGELU(x) = x sigmoid(1.702 x) = silu(1.702 x) / 1.702. Both factors go into the matrix
products beside it: one pass over a block's widest tensor, and one copy of it for the backward."""

Product = Callable[[Tensor], Tensor]


class BlockProducts(NamedTuple):
    """The matrix products of a block; each maps (..., inputs) to (..., outputs)."""

    query: Product
    key_value: Product
    out: Product
    expand: Product
    """With QuickGELU: times its slope."""
    contract: Product
    """With QuickGELU: of inputs that are its slope times too large."""


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


class LowPrecisionBlock(nn.Module):
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
        self.heads: int = block.attn.num_heads
        self.activation = activation_of(block)
        slope = _slope(block)
        width, attn, mlp = block.attn.embed_dim, block.attn, block.mlp
        weight, bias = attn.in_proj_weight.detach(), attn.in_proj_bias.detach()
        self.query = convert(weight[:width], bias[:width])
        self.key_value = convert(weight[width:], bias[width:])
        self.out = convert(attn.out_proj.weight.detach(), attn.out_proj.bias.detach())
        self.expand = convert(slope * mlp.c_fc.weight.detach(), slope * mlp.c_fc.bias.detach())
        self.contract = convert(mlp.c_proj.weight.detach() / slope, mlp.c_proj.bias.detach())

    @property
    def products(self) -> BlockProducts:
        return BlockProducts(self.query, self.key_value, self.out, self.expand, self.contract)


def run_block(block: Any, tokens: Tensor, prompts: Tensor | None) -> Tensor:
    """One transformer block over tokens (B, M, D), attending also to prompts (B or 1, P, D).

    What a block makes of its prompts is thrown away, since the next block brings its own: so they
    give keys and values only, and neither queries nor the feed-forward see them.
    """
    if isinstance(block, LowPrecisionBlock):
        products, heads, activation = block.products, block.heads, block.activation
    elif has_plain_attention(block):
        products, heads = products_of(block), block.attn.num_heads
        activation = activation_of(block)
    elif prompts is None:  # open_clip's custom attention
        return block(tokens)
    else:
        prompts = prompts.expand(tokens.shape[0], -1, -1)
        return block(torch.cat([tokens, prompts], dim=1))[:, : tokens.shape[1]]
    normed = context = block.ln_1(tokens)  # (B, M, D)
    if prompts is not None:
        prompts = block.ln_1(prompts).expand(tokens.shape[0], -1, -1)
        context = torch.cat([normed, prompts], dim=1)  # (B, M + P, D)
    attended = _attend(products.query(normed), products.key_value(context), heads)  # (B, M, D)
    tokens = tokens + block.ls_1(products.out(attended))
    hidden = activation(products.expand(block.ln_2(tokens)))  # (B, M, 4D)
    return tokens + block.ls_2(products.contract(hidden))


def run_block_again_in_backward(block: Any, tokens: Tensor, prompts: Tensor | None) -> Tensor:
    """`run_block`, of which nothing but the inputs is kept for the backward pass."""
    if not torch.is_grad_enabled():
        return run_block(block, tokens, prompts)
    return checkpoint(  # blocks have no dropout, so no random state needs to be kept
        run_block, block, tokens, prompts, use_reentrant=False, preserve_rng_state=False
    )


def _attend(queries: Tensor, key_value: Tensor, heads: int) -> Tensor:
    """Queries (B, M, D) over keys and values side by side (B, K, 2D), to (B, M, D)."""
    query, key, value = (
        part.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, heads, ., d_head)
        for part in (queries, *key_value.chunk(2, dim=-1))
    )
    return attend(query, key, value).transpose(1, 2).flatten(2)


def can_be_lowered(block: Any) -> bool:
    """Whether bfloat16 copies of a block's weights can stand for them: none of them is trained."""
    trained = any(weight.requires_grad for weight in block.parameters())
    return has_plain_attention(block) and not trained


def lower_blocks(blocks: Mapping[int, Any]) -> dict[int, LowPrecisionBlock]:
    """The blocks in bfloat16."""
    return {
        index: LowPrecisionBlock(block, BFloat16Linear, torch.bfloat16)
        for index, block in blocks.items()
    }


def has_plain_attention(block: Any) -> bool:
    """Whether a block attends as CLIP's do, not in a custom way of open_clip's."""
    return isinstance(getattr(block, "attn", None), nn.MultiheadAttention)


def products_of(block: Any) -> BlockProducts:
    """The products of open_clip's block, with its own weights."""
    attn, mlp, slope = block.attn, block.mlp, _slope(block)
    width = attn.embed_dim
    weight, bias = attn.in_proj_weight, attn.in_proj_bias
    return BlockProducts(
        query=partial(F.linear, weight=weight[:width], bias=bias[:width]),
        key_value=partial(F.linear, weight=weight[width:], bias=bias[width:]),
        out=attn.out_proj,
        expand=partial(_scaled_linear, mlp.c_fc, slope, slope),
        contract=partial(_scaled_linear, mlp.c_proj, 1 / slope, 1.0),
    )


def activation_of(block: Any) -> Callable[[Tensor], Tensor]:
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
