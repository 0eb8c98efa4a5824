"""The tiny CLIP as a Lightning module."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from cascade_clip.clip.text import SCENE_TEMPLATES, SINGLE_TEMPLATE
from cascade_clip.picturebook import CLASSES
from scripts.pretraining.objective import (
    Terms,
    embed_images,
    embed_texts,
    patch_terms,
    picture_term,
)
from scripts.pretraining.scenes import COLOURED, Batch

TEMPLATES = ("{}", *SINGLE_TEMPLATE, *SCENE_TEMPLATES)
UNTOLD_PHRASES = 16
"""Colour-name phrases that no picture of the batch shows, drawn anew for every step."""


@dataclass(frozen=True)
class Optimisation:
    """AdamW with linear warm-up and cosine decay to zero."""

    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup_steps: int = 300


class PretrainModule(L.LightningModule):
    """Trains `clip` (open_clip's CLIP with a logit bias) and a scale for patch similarities."""

    def __init__(
        self,
        clip: Any,
        tokenize: Callable[[list[str]], Tensor],
        optimisation: Optimisation,
        total_steps: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.clip = clip
        self.patch_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.tokenize = tokenize
        self.optimisation, self.total_steps, self.seed = optimisation, total_steps, seed
        texts = [t.format(phrase) for t in TEMPLATES for phrase in (*CLASSES, *COLOURED)]
        tokens = tokenize(texts).unflatten(0, (len(TEMPLATES), -1))  # (templates, phrases, T)
        self.tokens: Tensor
        self.register_buffer("tokens", tokens, persistent=False)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        rng = torch.Generator().manual_seed((self.seed << 32) + self.global_step)
        image = batch.image.float() / 127.5 - 1.0  # (B, 3, H, W)
        images = embed_images(self.clip.visual, image, self._offset(rng, image))
        coloured = self._phrases_of_step(rng, batch.coloured)
        names, phrases = self._embed_phrases(rng, coloured)

        told = torch.cat([batch.named, batch.coloured[:, coloured]], dim=1)  # (B, L)
        scale, bias = self.clip.logit_scale.exp(), self.clip.logit_bias
        logits = scale * images.picture @ torch.cat([names, phrases]).T + bias  # (B, L)
        similarity = self.patch_scale.exp() * images.patches @ names.T  # (B, N, C)
        terms = Terms(picture_term(logits, told), *patch_terms(similarity, batch.named))
        self.log_dict({f"train/{name}": value for name, value in terms._asdict().items()})
        self.log("loss", terms.total, prog_bar=True)
        return terms.total

    def _offset(self, rng: torch.Generator, image: Tensor) -> tuple[int, int]:
        """Where in the native position grid the picture lies: anywhere it fits."""
        patch = self.clip.visual.patch_size
        rooms = [
            grid - side // p + 1
            for grid, side, p in zip(
                self.clip.visual.grid_size, image.shape[-2:], patch, strict=True
            )
        ]
        top, left = (int(torch.randint(room, (), generator=rng)) for room in rooms)
        return top, left

    def _phrases_of_step(self, rng: torch.Generator, coloured: Tensor) -> Tensor:
        """Indices of the colour-name phrases told in this batch and of a few others."""
        told = coloured.any(dim=0).cpu()
        untold = (~told).nonzero().flatten()
        drawn = untold[torch.randperm(len(untold), generator=rng)[:UNTOLD_PHRASES]]
        return torch.cat([told.nonzero().flatten(), drawn]).to(coloured.device)

    def _embed_phrases(self, rng: torch.Generator, coloured: Tensor) -> tuple[Tensor, Tensor]:
        """Names (C, d) and chosen colour-name phrases (L - C, d), each in a template of its own."""
        rows = torch.cat([torch.arange(len(CLASSES)), len(CLASSES) + coloured.cpu()])
        templates = torch.randint(len(TEMPLATES), rows.shape, generator=rng)
        embeddings = embed_texts(self.clip, self.tokens[templates, rows])  # (L, d)
        return embeddings[: len(CLASSES)], embeddings[len(CLASSES) :]

    def configure_optimizers(self) -> Any:
        matrices = [p for p in self.parameters() if p.ndim >= 2]
        vectors = [p for p in self.parameters() if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": self.optimisation.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(
            groups, lr=self.optimisation.lr, betas=(0.9, 0.98), fused=True
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._lr_factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _lr_factor(self, step: int) -> float:
        warm = min(1.0, (step + 1) / self.optimisation.warmup_steps)
        return warm * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / self.total_steps)))
