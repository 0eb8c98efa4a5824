"""OTSeg's head (arXiv 2403.14183): several prompts a class divide the patches among themselves.

Each class has K text prompts. How much a patch belongs to each of them is the transport plan
between all patches and the class's prompts (`model/sinkhorn.py`); the class's score at a patch is
the sum of their cosines, weighed by the plan. Two paths lead from queries and patches to mask
logits: these scores at once, and a decoder whose attention is such a plan. Both are trained; OTSeg+
adds them at test.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cascade_clip.config.heads import OTSegSettings
from cascade_clip.model.decoder import DecoderShell
from cascade_clip.model.heads.cascade import CascadeHead, QueryProjection
from cascade_clip.model.heads.head import SegmentationTerms
from cascade_clip.model.protocol import Levels, Output
from cascade_clip.model.sinkhorn import transport_plans
from cascade_clip.support.devices import without_autocast


@dataclass(frozen=True)
class OTSegOutput(Output):
    """Its two paths, over all stages."""

    prompt_logits: Tensor
    """(B, C, h, w): the prompts' scores."""
    decoder_logits: Tensor
    """(B, C, h, w): the decoders'."""


class OTSegHead(CascadeHead):
    """With one stage of the last block it is OTSeg's; more stages are the cascade on top of it.

    Mask logits are the decoders' or half of each path, as `test_scores` says; in training always
    half of each, by which the released code chooses pseudo-labels. A stage's logits are its share
    of that.
    """

    def __init__(self, embed_dim: int, settings: OTSegSettings) -> None:
        super().__init__(embed_dim, settings, partial(SinkhornDecoder, embed_dim, settings))
        self.test_scores = settings.test_scores
        self.rounds = settings.sinkhorn_rounds
        self.prompt_share = 1 / len(self.stages) if settings.prompt_scores == "mean" else 1.0
        if settings.decoder_start == "identity":
            parts: list[Any] = [*self.query_projections, *self.decoders]
            for part in parts:
                part.start_at_identity()

    def forward(self, levels: Levels, text: Tensor) -> OTSegOutput:
        """Levels and unit text embeddings (C, K, d) to the mask logits of both paths."""
        projections = list(self.query_projections)
        projections *= len(self.stages) // len(projections)
        prompt_maps, decoder_maps = [], []
        for blocks, aggregate, project, decoder in zip(
            self.stages, self.aggregations, projections, self.decoders, strict=True
        ):
            patches = aggregate(levels.of(blocks))  # (B, N, d)
            queries = _project_prompts(project, text, levels.global_embedding)  # (B, C, K, d)
            scores, _ = match(queries, patches, self.rounds)  # (B, C, N)
            prompt_maps.append((self.prompt_share * scores).unflatten(2, levels.grid))
            decoder_maps.append(decoder(queries, patches).unflatten(2, levels.grid))
        return self._output(prompt_maps, decoder_maps, levels)

    def _output(
        self, prompt_maps: list[Tensor], decoder_maps: list[Tensor], levels: Levels
    ) -> OTSegOutput:
        stages = decoder_maps
        if self.training or self.test_scores == "ensemble":
            stages = [0.5 * (a + b) for a, b in zip(prompt_maps, decoder_maps, strict=True)]
        by_prompts, by_decoders, mask_logits = (
            torch.stack(maps).sum(dim=0) for maps in (prompt_maps, decoder_maps, stages)
        )  # (B, C, h, w) each
        return OTSegOutput(mask_logits, tuple(stages), levels, by_prompts, by_decoders)

    def loss_terms(
        self, output: Output, targets: Tensor, segmentation: SegmentationTerms
    ) -> Mapping[str, Tensor]:
        """The recipe's loss on each path."""
        assert isinstance(output, OTSegOutput)
        paths = {"decoder": output.decoder_logits, "score": output.prompt_logits}
        return {
            f"{path}_{name}": term
            for path, logits in paths.items()
            for name, term in segmentation(logits, targets).items()
        }

    def low_precision_parts(self) -> Iterable[nn.Module]:
        decoders: list[Any] = list(self.decoders)
        return [decoder.layers for decoder in decoders]


def _project_prompts(project: nn.Module, text: Tensor, global_embedding: Tensor) -> Tensor:
    """Text embeddings (C, K, d) and global embeddings (B, d) to a query per prompt (B, C, K, d)."""
    assert isinstance(project, QueryProjection)
    return project(text.flatten(0, 1), global_embedding).unflatten(1, text.shape[:2])


def match(queries: Tensor, patches: Tensor, rounds: int | None) -> tuple[Tensor, Tensor]:
    """Scores (B, C, N) of classes at patches, and their transport plans (B, C, K, N), from queries
    (B, C, K, d) and patches (B, N, d), which need not be unit vectors.

    A uniform plan makes a score the sum of K cosines; without entropy it were K times the best.
    """
    with without_autocast(queries.device):
        wide = torch.promote_types(queries.dtype, torch.float32)
        ours, theirs = (F.normalize(each.to(wide), dim=-1) for each in (queries, patches))
        cosines = (ours.flatten(1, 2) @ theirs.mT).unflatten(1, queries.shape[1:3])  # (B, C, K, N)
        plans = transport_plans(cosines, rounds)
        size = queries.shape[2] * patches.shape[1]
        return (size * (plans * cosines).sum(dim=2)).to(queries.dtype), plans


class SinkhornLayer(DecoderShell):
    """A decoder layer of one head whose attention is the transport plan."""

    def __init__(self, embed_dim: int, dropout: float, rounds: int | None) -> None:
        super().__init__(embed_dim, dropout)
        self.rounds = rounds

    def forward(self, queries: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Queries (B, C, K, d) and patches (B, N, d) to scores (B, C, N) and queries."""
        scores, plans = match(self.query(queries), self.key(patches), self.rounds)
        value = self.value(patches)  # (B, N, d)
        plans = self.dropout(plans).to(value.dtype)  # the scores are of the plan without dropout
        attended = (plans.flatten(1, 2) @ value).unflatten(1, queries.shape[1:3])  # (B, C, K, d)
        return scores, self.update(queries, attended)


class PromptScores(nn.Module):
    """The last layer: its scores alone."""

    def __init__(self, embed_dim: int, rounds: int | None) -> None:
        super().__init__()
        self.rounds = rounds
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(embed_dim, embed_dim)

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Queries (B, C, K, d) and patches (B, N, d) to scores (B, C, N)."""
        return match(self.query(queries), self.key(patches), self.rounds)[0]


class SinkhornDecoder(nn.Module):
    """Mask logits are the last layer's scores, each gated by the sigmoids of the layers before:
    by the (`layers` - 1)-th root of their product.

    All layers start as identical copies, as in the released code.
    """

    def __init__(self, embed_dim: int, settings: OTSegSettings) -> None:
        super().__init__()
        rounds = settings.sinkhorn_rounds
        first = SinkhornLayer(embed_dim, settings.decoder_dropout, rounds)
        self.layers = nn.ModuleList(
            copy.deepcopy(first) for _ in range(settings.decoder_layers - 1)
        )
        self.scores = PromptScores(embed_dim, rounds)
        self.scores.query.load_state_dict(first.query.state_dict())
        self.scores.key.load_state_dict(first.key.state_dict())

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """Queries (B, C, K, d) and patches (B, N, d) to mask logits (B, C, N)."""
        gate: Tensor | float = 1.0
        for layer in self.layers:
            scores, queries = layer(queries, patches)
            gate = gate * scores.sigmoid() ** (1 / len(self.layers))
        return self.scores(queries, patches) * gate

    @torch.no_grad()
    def start_at_identity(self) -> None:
        """Makes all layers match queries and patches as they are, and add nothing to queries."""
        layers: list[Any] = [*self.layers, self.scores]
        for layer in layers:
            for linear in (layer.query, layer.key):
                nn.init.eye_(linear.weight)
                nn.init.zeros_(linear.bias)
        for layer in layers[:-1]:
            for linear in (layer.out, layer.contract):
                nn.init.zeros_(linear.weight)
                nn.init.zeros_(linear.bias)
