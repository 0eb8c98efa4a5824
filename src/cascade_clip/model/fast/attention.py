"""Scaled dot-product attention, in the form that is fastest where it runs."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.support.processor import cpu_features

FEWEST_SCORES = 2**16
"""Scores of one head from which on products of their own are faster than PyTorch's kernel."""

ROWS = 512
"""Queries whose scores are held at once."""


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """`softmax(q k^T / sqrt(d)) v` for q (B, heads, M, d) and k, v (B, heads, K, d), over all keys
    or those where `mask` is True; one of floats is added to the scores. Masks are broadcast to
    (B, heads, M, K)."""
    if mask is not None and mask.is_floating_point():
        mask = mask.to(query.dtype)
    if _wants_single_heads(query, key):
        return attend_head_by_head(query, key, value, mask)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def attend_head_by_head(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> Tensor:
    """The same as two matrix products a head; scores are rounded to the inputs' precision.

    PyTorch's kernel for CPUs multiplies bfloat16 hardly faster than float32 unless there are AMX
    tiles; with products of oneDNN attention takes some 60% of its time (docs/performance.md).
    """
    batch, heads, length, width = query.shape
    attended = query.new_empty(batch, length, heads, width)
    scaled = query * width**-0.5
    if mask is not None:
        mask = mask.expand(batch, heads, length, -1)
    for picture in range(batch):
        for head in range(heads):
            keys, values = key[picture, head].T, value[picture, head]  # (d, K), (K, d)
            for first in range(0, length, ROWS):
                rows = slice(first, first + ROWS)
                scores = scaled[picture, head, rows] @ keys  # (rows, K)
                if mask is not None:
                    _mask_scores(mask[picture, head, rows], scores)
                attended[picture, rows, head] = scores.softmax(dim=-1) @ values
    return attended.transpose(1, 2)


def _mask_scores(mask: Tensor, scores: Tensor) -> None:
    """Both (rows, K); changes the scores."""
    if mask.is_floating_point():
        scores.add_(mask)
    else:
        scores.masked_fill_(~mask, -torch.inf)


def _wants_single_heads(query: Tensor, key: Tensor) -> bool:
    return (
        query.dtype == torch.bfloat16
        and query.device.type == "cpu"
        and query.shape[2] * key.shape[2] >= FEWEST_SCORES
        and not (torch.is_grad_enabled() and query.requires_grad)
        and not torch.compiler.is_compiling()
        and _multiplies_bfloat16_without_tiles()
    )


@cache
def _multiplies_bfloat16_without_tiles() -> bool:
    features = cpu_features()
    return "avx512_bf16" in features and "amx_bf16" not in features
