"""What inference asks of a network, whatever it is: trained, training-free, one stage, a file."""

from __future__ import annotations

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


def check_text(text_embeddings: Tensor, embed_dim: int) -> None:
    """Raises `UserError` unless `text_embeddings` are (C, d) or (C, K, d) of that width d."""
    if text_embeddings.ndim not in (2, 3) or text_embeddings.shape[-1] != embed_dim:
        raise UserError(
            f"text embeddings must be (classes, {embed_dim}) or (classes, prompts, "
            f"{embed_dim}) for this CLIP, got {tuple(text_embeddings.shape)}; encode the class "
            "names with the same CLIP"
        )
