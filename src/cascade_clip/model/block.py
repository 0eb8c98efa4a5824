"""One transformer block of CLIP's image encoder, whose tokens also attend to prompts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cascade_clip.model.fast.attention import attend

Layer = Callable[[Tensor], Tensor]

BLOCKS_COUNTED = 12
"""Blocks of the CLIP for which methods give block numbers."""


def at_relative_depth(number: int, depth: int) -> int:
    """The block of a CLIP with `depth` blocks that stands for block `number` of 12:
    floor(number * depth / 12), at least 1."""
    return max(1, number * depth // BLOCKS_COUNTED)


class Block:
    """Attention, then a feed-forward, each behind a LayerNorm and added to its input.

    What a block makes of its prompts is thrown away, since the next block brings its own: so they
    give keys and values only, and neither queries nor the feed-forward see them. `fast/blocks.py`
    has the layers, with the weights of open_clip's block as they are or in lower precision.
    """

    heads: int
    ln_1: Layer
    query: Layer  # (..., D) to (..., D)
    key_value: Layer  # (..., D) to (..., 2D)
    out: Layer  # (..., D) to (..., D)
    ls_1: Layer
    ln_2: Layer
    expand: Layer  # (..., D) to (..., 4D)
    activation: Layer
    contract: Layer  # (..., 4D) to (..., D)
    ls_2: Layer

    def __call__(
        self, tokens: Tensor, prompts: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Tokens (B, M, D), beside prompts (B or 1, P, D), to tokens (B, M, D). A token attends to
        those among the M + P where `mask` (M, M + P) is True, to all without one; or `mask`, of
        floats and broadcast to (B, heads, M, M + P), is added to the scores."""
        normed = context = self.ln_1(tokens)  # (B, M, D)
        if prompts is not None:
            prompts = self.ln_1(prompts).expand(tokens.shape[0], -1, -1)  # (B, P, D)
            context = torch.cat([normed, prompts], dim=1)  # (B, M + P, D)
        tokens = tokens + self.ls_1(self.attend(normed, context, mask))
        return tokens + self.ls_2(self.feed_forward(self.ln_2(tokens)))

    def attend(self, tokens: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Multi-head attention of tokens (B, M, D) over a context (B, K, D), or what `mask` leaves
        of it, to (B, M, D)."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, ., D / heads)
            for part in (self.query(tokens), *self.key_value(context).chunk(2, dim=-1))
        )
        return self.out(attend(query, key, value, mask).transpose(1, 2).flatten(2))  # (B, M, D)

    def feed_forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, M, D) to (B, M, D), each on its own."""
        return self.contract(self.activation(self.expand(tokens)))
