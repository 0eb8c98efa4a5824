"""How the levels of one stage become one feature (Cascade-CLIP, arXiv 2406.00670, Table 8).

Each module maps a list of K features (B, N, d), blocks ascending, to one (B, N, d).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_clip.config.heads import StagedSettings


def build_aggregation(
    blocks: tuple[int, ...], embed_dim: int, settings: StagedSettings
) -> nn.Module:
    """The aggregation of a stage with these blocks (1-based, ascending).

    A stage of one block needs none: its feature is that block's, whatever the setting.
    """
    if len(blocks) == 1:
        return Single()
    kind = settings.aggregation
    if kind in {"nga", "nga-fixed"}:
        weights = neighborhood_gaussian(blocks, settings.sigma)
        return WeightedSum(weights, trained=kind == "nga")
    if kind in {"sum", "sum-trained"}:
        return WeightedSum(torch.ones(len(blocks)), trained=kind == "sum-trained")
    if kind == "mean":
        return WeightedSum(torch.full((len(blocks),), 1 / len(blocks)), trained=False)
    if kind == "concat":
        return Concat(len(blocks), embed_dim)
    return LevelAttention(embed_dim, settings.attention_heads)


def neighborhood_gaussian(blocks: tuple[int, ...], sigma: float) -> Tensor:
    """Weights (K,): exp(-k^2 / (2 sigma^2)), k the distance to the stage's last block.

    Equation 4 of the paper, with the distance that its Table 16 and the released code use: the
    last block has weight 1, and the weights are not normalised.
    """
    distance = blocks[-1] - torch.tensor(blocks, dtype=torch.float32)
    return torch.exp(-(distance**2) / (2 * sigma**2))


class WeightedSum(nn.Module):
    """The sum of the levels, each times its weight; `weights` (K,) are where training starts."""

    def __init__(self, weights: Tensor, trained: bool) -> None:
        super().__init__()
        self.weights: Tensor
        if trained:
            self.weights = nn.Parameter(weights)
        else:
            self.register_buffer("weights", weights, persistent=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        total = self.weights[0] * features[0]
        for weight, feature in zip(self.weights[1:], features[1:], strict=True):
            total = total + weight * feature
        return total


class Concat(nn.Module):
    """The levels side by side, through one linear layer K * d -> d."""

    def __init__(self, levels: int, embed_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(levels * embed_dim, embed_dim)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.linear(torch.cat(features, dim=-1))


class LevelAttention(nn.Module):
    """Self-attention over the levels of each patch, then their mean.

    The paper names "self-attention" without a form. Chosen here: the K features of one patch are a
    sequence of K tokens; multi-head scaled dot-product attention among them (Vaswani et al., arXiv
    1706.03762, section 3.2.2) is added to its input; the mean over the K results is the stage's
    feature. Patches don't see each other.
    """

    def __init__(self, embed_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.out = nn.Linear(embed_dim, embed_dim)

    def forward(self, features: list[Tensor]) -> Tensor:
        levels = torch.stack(features, dim=2).flatten(0, 1)  # (B * N, K, d)
        qkv = self.qkv(levels).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys, values = qkv  # (B * N, heads, K, d_head) each
        attended = F.scaled_dot_product_attention(queries, keys, values)
        attended = attended.transpose(1, 2).flatten(2)  # (B * N, K, d)
        mixed = (levels + self.out(attended)).mean(dim=1)  # (B * N, d)
        return mixed.unflatten(0, features[0].shape[:2])  # (B, N, d)


class Single(nn.Module):
    """The only level, as it is."""

    def forward(self, features: list[Tensor]) -> Tensor:
        return features[0]
