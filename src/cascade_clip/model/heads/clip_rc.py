"""CLIP-RC's head (CVPR 2024, pp. 3270-3280): queries for each class in each region.

From the released code, where the paper leaves it open: both sides of the decoder attend to each
other's state before the layer; region tokens and patches are unit vectors; the mask logits of a
class are the mean over its regions of plain products. Its self-attention layers, which nothing
uses, are not here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_clip.config.heads import ClipRcSettings
from cascade_clip.model.decoder import IDENTITY_LOGIT_SCALE, DecoderLayer
from cascade_clip.model.heads.cascade import CascadeHead, decoders_of
from cascade_clip.model.heads.head import SegmentationTerms, one_prompt
from cascade_clip.model.protocol import Levels, Output


@dataclass(frozen=True)
class Decoded:
    """One stage: R regions, C classes, N patches."""

    text: Tensor
    """(C, d)."""
    matched: Tensor
    """(B, R, d): region plus global embedding, which the text is matched with."""
    features: Tensor
    """(B, N, d): the stage's patches before the decoder."""
    queries: Tensor
    """(B, R * C, d) after the decoder, region by region."""
    patches: Tensor
    """(B, N, d) after the decoder."""

    def mask_logits(self) -> Tensor:
        """(B, C, N): products of queries and patches, mean over the regions.

        The mean over regions of products is one product with the mean query, so that nothing of
        size R * C * N is kept.
        """
        by_region = self.queries.unflatten(1, (self.matched.shape[1], -1))  # (B, R, C, d)
        return by_region.mean(dim=1) @ self.patches.transpose(1, 2)

    def query_inputs(self) -> Tensor:
        """(B, R * C, 2d): what the query projection took, concat((V_l + g) * T_c, T_c)."""
        matched = self.matched[:, :, None] * self.text  # (B, R, C, d)
        return torch.cat([matched, self.text.expand_as(matched)], dim=-1).flatten(1, 2)


@dataclass(frozen=True)
class ClipRcOutput(Output):
    """With what the recovery loss needs."""

    last_stage: Decoded


class ClipRcHead(CascadeHead):
    """With one stage of the last block it is CLIP-RC's own; with more, each stage decodes its own
    levels of patches and regions, and the last one alone is recovered.

    Raises `UserError` if the attention heads don't divide the embedding width.
    """

    classes_interact = True

    def __init__(self, embed_dim: int, settings: ClipRcSettings) -> None:
        super().__init__(embed_dim, settings, decoders_of(TwoWayDecoder, embed_dim, settings))
        self.recovery_weight = settings.recovery_weight
        self.lateral_projections = nn.ModuleList(
            nn.Linear(3 * embed_dim, embed_dim) for _ in self.stages
        )
        if settings.decoder_start == "identity":
            self.start_at_identity()
        if self.recovery_weight:
            self.recovery = Recovery(embed_dim, settings.decoder_heads, settings.decoder_dropout)

    @torch.no_grad()
    def start_at_identity(self) -> None:
        """Makes the mask logits of all stages together start at about `IDENTITY_LOGIT_SCALE` times
        CLIP's cosine similarity."""
        projections: list[Any] = list(self.query_projections)
        for projection in projections:
            projection.start_at_identity()
        laterals: list[Any] = list(self.lateral_projections)
        for linear in laterals:  # of regions, global embedding and patches the patches alone
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
            linear.weight[:, -linear.out_features :].fill_diagonal_(1.0)
        decoders: list[Any] = list(self.decoders)
        for decoder in decoders:
            decoder.start_at_identity(IDENTITY_LOGIT_SCALE / len(decoders))

    def forward(self, levels: Levels, text: Tensor) -> ClipRcOutput:
        """Levels with regions and unit text embeddings (C, 1, d) to mask logits summed over the
        stages. Raises `UserError` for several prompts a class."""
        text = one_prompt(text)  # (C, d)
        decoded = [self.decode(levels, text, stage) for stage in range(len(self.stages))]
        maps = tuple(one.mask_logits().unflatten(2, levels.grid) for one in decoded)  # (B, C, h, w)
        return ClipRcOutput(torch.stack(maps).sum(dim=0), maps, levels, decoded[-1])

    def decode(self, levels: Levels, text: Tensor, stage: int) -> Decoded:
        """One stage, for text embeddings (C, d)."""
        aggregate, blocks = self.aggregations[stage], self.stages[stage]
        features, regions = aggregate(levels.of(blocks)), aggregate(levels.regions_of(blocks))
        matched = regions + levels.global_embedding[:, None]  # (B, R, d)
        project = self.query_projections[stage if len(self.query_projections) > 1 else 0]
        queries = project(text, matched.flatten(0, 1))  # (B * R, C, d)
        queries = queries.unflatten(0, matched.shape[:2]).flatten(1, 2)  # (B, R * C, d)
        patches = self.lateral_projections[stage](
            torch.cat(
                [
                    resize_regions(regions, levels.grid),
                    levels.global_embedding[:, None].expand_as(features),
                    features,
                ],
                dim=-1,
            )
        )  # (B, N, d)
        return Decoded(text, matched, features, *self.decoders[stage](queries, patches))

    def loss_terms(
        self, output: Output, targets: Tensor, segmentation: SegmentationTerms
    ) -> Mapping[str, Tensor]:
        """Beside the segmentation terms the recovery of queries and patches, if it has a weight."""
        terms = segmentation(output.mask_logits, targets)
        if not self.recovery_weight:
            return terms
        assert isinstance(output, ClipRcOutput)
        queries, patches = self.recovery(output.last_stage)
        return {
            **terms,
            "recovery_queries": self.recovery_weight * queries,
            "recovery_patches": self.recovery_weight * patches,
        }

    def low_precision_parts(self) -> Iterable[nn.Module]:
        return self.decoders


class TwoWayLayer(nn.Module):
    """Queries attend to patches and, with weights of its own, patches to queries: both to what the
    other side was before the layer."""

    def __init__(self, embed_dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.queries = DecoderLayer(embed_dim, heads, dropout)
        self.patches = DecoderLayer(embed_dim, heads, dropout)

    def forward(self, queries: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (B, M, d) and patches (B, N, d) to the same shapes."""
        return self.queries(queries, patches), self.patches(patches, queries)


class TwoWayDecoder(nn.Module):
    """`layers` two-way layers, which start as identical copies."""

    def __init__(self, embed_dim: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        first = TwoWayLayer(embed_dim, heads, dropout)
        self.layers = nn.ModuleList(copy.deepcopy(first) for _ in range(layers))

    def forward(self, queries: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (B, M, d) and patches (B, N, d) to the same shapes."""
        for layer in self.layers:
            queries, patches = layer(queries, patches)
        return queries, patches

    @torch.no_grad()
    def start_at_identity(self, logit_scale: float) -> None:
        """Makes the layers add nothing, and the last one scale what it normalises, to norm sqrt(d),
        so that products of queries and patches start at `logit_scale` times their similarity."""
        layers: list[Any] = list(self.layers)
        for side in [side for layer in layers for side in (layer.queries, layer.patches)]:
            for linear in (side.out, side.contract):
                nn.init.zeros_(linear.weight)
                nn.init.zeros_(linear.bias)
        for side in (layers[-1].queries, layers[-1].patches):
            norm = side.feedforward_norm
            nn.init.constant_(norm.weight, math.sqrt(logit_scale / norm.weight.numel()))


class Recovery(nn.Module):
    """Of training alone: what the decoder gives has to tell what went into it.

    Its linear layers start truncated normal with std 0.02, their biases at 0.
    """

    def __init__(self, embed_dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.queries_in = nn.Linear(embed_dim, embed_dim)
        self.patches_in = nn.Linear(embed_dim, embed_dim)
        self.layer = TwoWayLayer(embed_dim, heads, dropout)
        self.queries_out = nn.Linear(embed_dim, 2 * embed_dim)
        self.patches_out = nn.Linear(embed_dim, embed_dim)
        self.apply(_start_small)

    def forward(self, decoded: Decoded) -> tuple[Tensor, Tensor]:
        """Mean absolute errors of what the query projection took, and of the patch features."""
        queries, patches = self.recover(decoded)
        return (
            F.l1_loss(queries, decoded.query_inputs().detach()),
            F.l1_loss(patches, decoded.features.detach()),
        )

    def recover(self, decoded: Decoded) -> tuple[Tensor, Tensor]:
        """Query inputs (B, R * C, 2d) and patch features (B, N, d) of a decoded stage."""
        queries, patches = self.layer(
            self.queries_in(decoded.queries), self.patches_in(decoded.patches)
        )
        return self.queries_out(queries), self.patches_out(patches)


def resize_regions(regions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Regions (B, R, d), R a square number, to patches (B, h * w, d) between them."""
    side = round(regions.shape[1] ** 0.5)
    cells = regions.mT.contiguous().unflatten(2, (side, side))  # (B, d, r, r)
    patches = F.interpolate(cells, size=grid, mode="bilinear", align_corners=False)
    return patches.flatten(2).transpose(1, 2)


def _start_small(module: Any) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
