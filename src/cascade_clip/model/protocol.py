"""What inference asks of a network, whatever it is: trained, training-free, one stage, a file; and
what passes between a trained one's parts: `Levels` from the encoder to the head, and its `Output`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from cascade_clip.errors import UserError


class MaskOutput(Protocol):
    """B images, C classes, patch grid h x w."""

    @property
    def mask_logits(self) -> Tensor:
        """(B, C, h, w), before the sigmoid."""


class MaskNetwork(Protocol):
    """Normalised images and text embeddings to mask logits; as a rule an `nn.Module`.

    `network(image, text)` takes images (B, 3, H, W), sides multiples of the patch size, and
    L2-normalised text embeddings (C, d), or (C, K, d) of K prompts a class.
    """

    training: bool

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""

    def __call__(self, image: Tensor, text_embeddings: Tensor, /) -> MaskOutput: ...

    def to(self, device: torch.device) -> Self: ...

    def train(self, mode: bool = True) -> Self: ...

    def eval(self) -> Self: ...

    def compile(self) -> Any: ...


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


def check_text(text_embeddings: Tensor, embed_dim: int) -> None:
    """Raises `UserError` unless `text_embeddings` are (C, d) or (C, K, d) of that width d."""
    if text_embeddings.ndim not in (2, 3) or text_embeddings.shape[-1] != embed_dim:
        raise UserError(
            f"text embeddings must be (classes, {embed_dim}) or (classes, prompts, "
            f"{embed_dim}) for this CLIP, got {tuple(text_embeddings.shape)}; encode the class "
            "names with the same CLIP"
        )
