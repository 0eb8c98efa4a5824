"""What the image encoder gives to the head, and what the head makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Levels:
    """Patch embeddings of several encoder blocks, in CLIP's joint embedding space.

    B images, N = h * w patches in row-major order, d joint embedding width.
    """

    features: list[Tensor]
    """One (B, N, d) per level block, blocks ascending, L2-normalised over d."""
    blocks: tuple[int, ...]
    """The block (1-based) behind each entry of `features`."""
    global_embedding: Tensor
    """(B, d): the class token after the last block, projected and L2-normalised."""
    grid: tuple[int, int]
    """(h, w), the patch grid."""
    regions: list[Tensor] = field(default_factory=list)
    """One (B, R, d) per level block, as `features`, of R region tokens; none where there are
    none."""

    def of(self, blocks: tuple[int, ...]) -> list[Tensor]:
        """The features of some of the level blocks, in the order asked for."""
        return [self.features[self.blocks.index(block)] for block in blocks]

    def regions_of(self, blocks: tuple[int, ...]) -> list[Tensor]:
        """The region embeddings of some of the level blocks, in the order asked for."""
        return [self.regions[self.blocks.index(block)] for block in blocks]


@dataclass(frozen=True)
class Output:
    """B images, C classes, patch grid h x w; all before the sigmoid."""

    mask_logits: Tensor
    """(B, C, h, w): summed over the stages."""
    stage_logits: tuple[Tensor, ...]
    """(B, C, h, w) for each of the settings' `stages_read`."""
    levels: Levels


def sum_of_stages(stage_logits: tuple[Tensor, ...], levels: Levels) -> Output:
    """The output whose mask logits are the sum of `stage_logits`, (B, C, h, w) each."""
    return Output(torch.stack(stage_logits).sum(dim=0), stage_logits, levels)
