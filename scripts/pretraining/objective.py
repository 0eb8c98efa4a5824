"""What the tiny CLIP is taught: which words tell of a picture, as a whole and patch by patch.

Only words about whole pictures are used, no masks and no positions. Three terms:

- `picture`: a sigmoid loss (as in SigLIP, arXiv 2303.15343) between the class token and every name
  and colour-name phrase;
- `candidates`: every patch shows something that the words name, so the part of its softmax over
  names that falls on names in the caption should be 1 (learning from partial labels);
- `presence`: every name in the caption is shown by some patches, so the patches most like it should
  be sure of it (multiple-instance learning).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

PRESENT_SHARE = 0.08
"""Share of the patches that should be sure of a name in the caption: a small thing's area."""


class ImageEmbeddings(NamedTuple):
    """`picture` (B, d) and `patches` (B, N, d), L2-normalised."""

    picture: Tensor
    patches: Tensor


class Terms(NamedTuple):
    picture: Tensor
    candidates: Tensor
    presence: Tensor

    @property
    def total(self) -> Tensor:
        return self.picture + self.candidates + self.presence


def embed_images(visual: Any, image: Tensor, offset: tuple[int, int] = (0, 0)) -> ImageEmbeddings:
    """Class token and patch tokens of an open_clip `VisionTransformer`, both projected.

    A picture (B, 3, H, W) smaller than the native size takes the position embeddings of a window of
    the native grid whose upper left patch is `offset` (row, column).
    """
    x = visual.conv1(image)  # (B, D, h, w)
    h, w = x.shape[-2:]
    x = x.flatten(2).transpose(1, 2)  # (B, N, D)
    x = x + _window_of_positions(visual, h, w, offset)
    first = visual.class_embedding + visual.positional_embedding[0]
    x = torch.cat([first.expand(len(x), 1, -1), x], dim=1)  # (B, 1 + N, D)
    x = visual.transformer(visual.ln_pre(x))
    x = F.normalize(visual.ln_post(x) @ visual.proj, dim=-1)  # (B, 1 + N, d)
    return ImageEmbeddings(picture=x[:, 0], patches=x[:, 1:])


def _window_of_positions(visual: Any, h: int, w: int, offset: tuple[int, int]) -> Tensor:
    grid = visual.positional_embedding[1:].unflatten(0, visual.grid_size)  # (gh, gw, D)
    top, left = offset
    return grid[top : top + h, left : left + w].flatten(0, 1)  # (N, D)


def embed_texts(clip: Any, tokens: Tensor) -> Tensor:
    """Text embeddings (L, d), L2-normalised, of token ids (L, context); padding is not computed."""
    longest = int((tokens != 0).sum(dim=1).max())
    tokens = tokens[:, :longest]
    x = clip.token_embedding(tokens) + clip.positional_embedding[:longest]  # (L, T, D)
    x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:longest, :longest]))
    ends = x[torch.arange(len(x)), tokens.argmax(dim=-1)]  # (L, D)
    return F.normalize(ends @ clip.text_projection, dim=-1)


def picture_term(logits: Tensor, told: Tensor) -> Tensor:
    """Sigmoid loss of (B, L) logits against which phrases are told of each picture (B, L) bool.

    Told and untold phrases weigh the same, however many there are of each.
    """
    positive = F.softplus(-logits)[told].mean()
    negative = F.softplus(logits)[~told].mean()
    return positive + negative


def patch_terms(similarity: Tensor, named: Tensor) -> tuple[Tensor, Tensor]:
    """`candidates` and `presence` of patch-name similarities (B, N, C) with the names (B, C)."""
    log_share = similarity.log_softmax(dim=-1)  # (B, N, C)
    candidates = log_share.masked_fill(~named[:, None], float("-inf"))
    sure = max(1, round(PRESENT_SHARE * similarity.shape[1]))
    strongest = log_share.topk(sure, dim=1).values.mean(dim=1)  # (B, C)
    return -candidates.logsumexp(dim=-1).mean(), -strongest[named].mean()
