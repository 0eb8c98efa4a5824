"""Visual prompt tokens: learnable tokens between the class token and the patches.

Deep prompts (ZegCLIP, arXiv 2212.03588, section 3.2, after VPT, arXiv 2203.12119) replace the
prompts of the block before; shallow prompts are placed once and carried along.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cascade_clip.config import EncoderSettings
from cascade_clip.model.fast.caching import WeightCache


class Prompts(nn.Module):
    """P prompt tokens for each of `blocks` blocks, through one shared linear layer.

    Initialisation follows the released code: tokens uniform in (-v, v) with
    v = sqrt(6 / (3 * patch^2 + D)); the linear layer's weight Kaiming normal over fan-out.
    """

    def __init__(
        self, blocks: int, width: int, patch_size: tuple[int, int], settings: EncoderSettings
    ) -> None:
        super().__init__()
        start = start_of_prompts((blocks, settings.prompts, width), patch_size)
        self.embeddings = nn.Parameter(start)
        self.projection = nn.Linear(width, width)
        nn.init.kaiming_normal_(self.projection.weight, mode="fan_out")
        self.dropout = nn.Dropout(settings.prompt_dropout)
        self.cache = WeightCache()

    def forward(self, batch: int) -> list[Tensor]:
        """Tokens per block: (B, P, D) in training, where the dropout mask differs from image to
        image; (1, P, D) in evaluation, where all images share them."""
        projected = self.cache.get(self.projection, self.embeddings)  # (blocks, P, D)
        if not self.training:
            return list(projected.unsqueeze(1))
        return [self.dropout(tokens.expand(batch, -1, -1)) for tokens in projected]

    def project(self, tokens: Tensor) -> Tensor:
        """Further tokens (B, C, D) for a block, through the same layer as its own."""
        return self.dropout(self.projection(tokens))


def start_of_prompts(shape: tuple[int, ...], patch_size: tuple[int, int]) -> Tensor:
    """Random values (..., D) as prompt tokens start: uniform in (-v, v)."""
    bound = math.sqrt(6.0 / (3 * patch_size[0] * patch_size[1] + shape[-1]))
    return torch.empty(shape).uniform_(-bound, bound)
