"""Attention of a block of CLIP by other comparisons than queries with keys."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from cascade_clip.model.block import Block

HeadedTokens = tuple[Tensor, Tensor, Tensor]
"""Queries, keys and values (B, heads, M, D / heads) each."""


def query_key_value(block: Block, normed: Tensor) -> HeadedTokens:
    """Of tokens (B, M, D) behind the block's first LayerNorm."""
    query, key, value = (
        part.unflatten(-1, (block.heads, -1)).transpose(1, 2)  # (B, heads, M, D / heads)
        for part in (block.query(normed), *block.key_value(normed).chunk(2, dim=-1))
    )
    return query, key, value


def attend_alike(tokens: Tensor, value: Tensor, added: Tensor | None = None) -> Tensor:
    """`softmax(t t^T / sqrt(d) + added) v` for t, v (B, heads, M, d) and scores (M, M)."""
    return F.scaled_dot_product_attention(tokens, tokens, value, attn_mask=added)


def self_scores(query: Tensor, key: Tensor) -> Tensor:
    """`softmax(q k^T / sqrt(d))`, (B, heads, M, M)."""
    return (query * query.shape[-1] ** -0.5 @ key.mT).softmax(dim=-1)


def join_heads(block: Block, attended: Tensor) -> Tensor:
    """(B, heads, M, D / heads) through the block's output projection, to (B, M, D)."""
    return block.out(attended.transpose(1, 2).flatten(2))
