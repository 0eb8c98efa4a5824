"""What every head is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar

from torch import Tensor, nn

from cascade_clip.errors import UserError
from cascade_clip.model.protocol import Levels, Output

SegmentationTerms = Callable[[Tensor, Tensor], Mapping[str, Tensor]]
"""Mask logits (B, C, h, w) and targets (B, H, W) to the weighted terms of the loss, by name."""


class Head(nn.Module, ABC):
    """The levels of an image and text embeddings to `Output`: what is particular to a method."""

    classes_interact: ClassVar[bool] = False
    """Whether the logits of a class depend on which other classes are asked for."""

    @abstractmethod
    def forward(self, levels: Levels, text: Tensor) -> Output:
        """Levels of B images and unit text embeddings (C, K, d), K prompts a class."""

    def loss_terms(
        self, output: Output, targets: Tensor, segmentation: SegmentationTerms
    ) -> Mapping[str, Tensor]:
        """The weighted terms whose sum is minimised, by name: here those of `segmentation`, the
        recipe's loss, on the mask logits.

        `targets` (B, H, W) are class indices in the order of the text embeddings, or 255.
        """
        return segmentation(output.mask_logits, targets)

    def low_precision_parts(self) -> Iterable[nn.Module]:
        """Modules whose linear layers inference may compute in bfloat16; the rest keeps float32."""
        return ()


def one_prompt(text: Tensor) -> Tensor:
    """Text embeddings (C, d) or (C, 1, d) to (C, d). Raises `UserError` for several prompts a
    class."""
    if text.ndim == 2:
        return text
    if text.shape[1] != 1:
        raise UserError(
            f"this method takes one text embedding a class, got {text.shape[1]}; set "
            "data.average_templates to true, or give (C, d), the normalised mean over the prompts"
        )
    return text[:, 0]
