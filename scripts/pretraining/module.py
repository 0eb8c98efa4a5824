"""The tiny CLIP as a Lightning module."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor

from cascade_clip.clip.templates import SCENE_TEMPLATES, SINGLE_TEMPLATE
from cascade_clip.picturebook import CLASSES
from scripts.pretraining.bank import PHRASES
from scripts.pretraining.batches import Batch
from scripts.pretraining.muon import Muon, matrix_groups
from scripts.pretraining.objective import contrastive_loss, embed_pictures, embed_texts

TEMPLATES = ("{}", *SINGLE_TEMPLATE, *SCENE_TEMPLATES)
UNTOLD_PHRASES = 16
"""Colour-name phrases that no picture of the batch shows, drawn anew for every step."""


@dataclass(frozen=True)
class Optimisation:
    """AdamW, and Muon for the blocks' matrices, with linear warm-up and cosine decay to zero."""

    lr: float = 3e-3
    matrix_lr: float = 6e-3
    weight_decay: float = 0.05
    warmup_steps: int = 50


class PretrainModule(L.LightningModule):
    """Trains `clip`, open_clip's CLIP."""

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
        self.tokenize = tokenize
        self.optimisation, self.total_steps, self.seed = optimisation, total_steps, seed
        texts = [t.format(phrase) for t in TEMPLATES for phrase in PHRASES]
        tokens = tokenize(texts).unflatten(0, (len(TEMPLATES), -1))  # (templates, phrases, T)
        self.tokens: Tensor
        self.register_buffer("tokens", tokens, persistent=False)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        rng = torch.Generator().manual_seed((self.seed << 32) + self.global_step)
        chosen = self._phrases_of_step(rng, batch.told)
        templates = torch.randint(len(TEMPLATES), chosen.shape, generator=rng)
        texts = embed_texts(self.clip, self.tokens[templates, chosen])  # (L, d)
        pictures = embed_pictures(self.clip.visual, batch.image.float() / 127.5 - 1.0)  # (B, d)
        logits = self.clip.logit_scale.exp() * pictures @ texts.T  # (B, L)
        loss = contrastive_loss(logits, batch.told[:, chosen])
        self.log("loss", loss, prog_bar=True)
        return loss

    def _phrases_of_step(self, rng: torch.Generator, told: Tensor) -> Tensor:
        """Indices (L,) of all names, the colour-name phrases told in this batch, and a few others.

        Each is embedded once a step, however many pictures it tells of.
        """
        used = told.any(dim=0).cpu()  # (phrases,)
        used[: len(CLASSES)] = True
        others = (~used).nonzero().flatten()
        others = others[torch.randperm(len(others), generator=rng)[:UNTOLD_PHRASES]]
        return torch.cat([used.nonzero().flatten(), others])

    def configure_optimizers(self) -> Any:
        named = dict(self.named_parameters())
        blocks = [p for name, p in named.items() if "resblocks" in name and p.ndim == 2]
        in_blocks = {id(p) for p in blocks}
        others = [p for p in named.values() if id(p) not in in_blocks]
        groups = [
            *matrix_groups(blocks, self.optimisation.matrix_lr),
            {"params": [p for p in others if p.ndim >= 2], "momentum": None},
            {"params": [p for p in others if p.ndim < 2], "momentum": None, "weight_decay": 0.0},
        ]
        optimizer = Muon(
            groups,
            lr=self.optimisation.lr,
            betas=(0.9, 0.98),
            weight_decay=self.optimisation.weight_decay,
            fused=True,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._lr_factor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _lr_factor(self, step: int) -> float:
        warm = min(1.0, (step + 1) / self.optimisation.warmup_steps)
        return warm * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / self.total_steps)))
