"""Token merging: patches that are alike go through later blocks as one.

After ToMe (Bolya et al., ICLR 2023, arXiv 2210.09461): bipartite soft matching, and attention in
proportion to the sizes of merged patches, without training. Other than there, patches are compared
by their tokens instead of their keys, only some early blocks merge, and what is read of a block is
copied back to all patches.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.model.block import at_relative_depth

MERGING_BLOCKS = (2, 3, 4, 5)
"""Blocks of 12 after which patches are merged; with another depth those at the same relative depth,
from the first on. Before them patches hardly know their surroundings; later ones save less."""


class PatchMerging:
    """Which of the N patches of B images have become one, in one pass through `depth` blocks.

    After each merging block, `share` of the N patches, rounded down, go into their most similar
    ones; with 0 nothing happens. At first R, the number of patches that are left, is N.
    """

    def __init__(self, share: float, depth: int) -> None:
        self.share = share
        self.merging_blocks = {at_relative_depth(b, depth) for b in MERGING_BLOCKS if share}
        self.sizes: Tensor | None = None
        """(B, R): of how many patches each one is made; None as long as nothing was merged."""
        self.places: Tensor | None = None
        """(B, N): the patch, 0..R-1, that each one has gone into."""

    def bias(self, others: int) -> Tensor | None:
        """What is added to the scores of keys, (B, 1, 1, 1 + R + others): a patch made of s counts
        s times, by log s (ToMe, equation 1). Keys are a class token, patches, and `others`."""
        if self.sizes is None:
            return None
        return F.pad(self.sizes.log(), (1, others))[:, None, None]

    def after_block(self, number: int, tokens: Tensor) -> Tensor:
        """Class token and patches (B, 1 + R, D) after block `number`, 1-based, to those of the next
        one, whose R is smaller if patches were merged."""
        if number not in self.merging_blocks:
            return tokens
        patches = tokens[:, 1:]
        if self.sizes is None or self.places is None:
            self.sizes = patches.new_ones(patches.shape[:2])  # (B, N)
            self.places = torch.arange(patches.shape[1], device=patches.device).expand(
                len(patches), -1
            )
        count = int(self.share * self.places.shape[1])
        patches, self.sizes, moved = merge_pairs(patches, self.sizes, count)
        self.places = moved.gather(1, self.places)
        return torch.cat([tokens[:, :1], patches], dim=1)

    def copied(self, patches: Tensor) -> Tensor:
        """What was made of each patch (B, R, D), for all that went into it: (B, N, D)."""
        if self.places is None:
            return patches
        return patches.gather(1, self.places[..., None].expand(-1, -1, patches.shape[2]))

    def all_tokens(self, tokens: Tensor) -> Tensor:
        """Class token and patches (B, 1 + R, D), patches copied: (B, 1 + N, D)."""
        if self.places is None:
            return tokens
        return torch.cat([tokens[:, :1], self.copied(tokens[:, 1:])], dim=1)


def merge_pairs(patches: Tensor, sizes: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Merges `count` pairs: of every second one of the patches (B, M, D), those with the most
    similar partners (by cosine) among the rest go into these, as means weighted by `sizes` (B, M).

    Returns patches (B, M - count, D), their sizes (B, M - count), and for each of the M its new
    place (B, M). `count` is at most M // 2.
    """
    unit = F.normalize(patches, dim=-1)
    similarity = unit[:, 1::2] @ unit[:, ::2].mT  # (B, M // 2, M - M // 2)
    best, partner = similarity.max(dim=2)  # (B, M // 2)
    order = best.argsort(dim=1, descending=True, stable=True)
    merged, kept = order[:, :count], order[:, count:]  # among every second one
    target = kept.shape[1] + partner.gather(1, merged)  # (B, count): after those that are kept

    places = sizes.new_empty(sizes.shape, dtype=torch.long)  # (B, M)
    rest = torch.arange(similarity.shape[2], device=sizes.device)
    places[:, ::2] = kept.shape[1] + rest
    ranks = torch.arange(kept.shape[1], device=sizes.device).expand_as(kept)
    places[:, 1::2] = torch.empty_like(order).scatter(1, kept, ranks).scatter(1, merged, target)

    new_sizes = sizes.new_zeros(len(sizes), sizes.shape[1] - count).scatter_add(1, places, sizes)
    where = places[..., None].expand_as(patches)
    total = patches.new_zeros(*new_sizes.shape, patches.shape[2])
    total = total.scatter_add(1, where, patches * sizes[..., None])  # (B, M - count, D)
    return total / new_sizes[..., None], new_sizes, places
