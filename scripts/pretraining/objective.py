"""What the tiny CLIP is taught: which words tell of a picture, by its class token alone.

CLIP's contrastive loss between class tokens and the names and colour-name phrases of captions. No
text ever meets a patch, so the last block's patches are left to themselves, as in CLIP.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cascade_clip.model.embedding import embed_patches
from cascade_clip.model.encoder import resize_positions


def embed_pictures(visual: Any, image: Tensor) -> Tensor:
    """Projected class tokens (B, d), L2-normalised, of an open_clip `VisionTransformer`.

    Of the last block nothing but the class token is computed, since nothing else is used.
    """
    x, grid = embed_patches(visual, image)  # (B, N, D)
    position = visual.positional_embedding
    x = x + resize_positions(position, (visual.grid_size, grid))
    first = (visual.class_embedding + position[0]).expand(len(x), 1, -1)
    x = visual.ln_pre(torch.cat([first, x], dim=1))  # (B, 1 + N, D)
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        x = block(x)
    normed = last.ln_1(x)
    token = x[:, :1] + last.attn(normed[:, :1], normed, normed, need_weights=False)[0]
    token = token + last.mlp(last.ln_2(token))
    return F.normalize(visual.ln_post(token[:, 0]) @ visual.proj, dim=-1)


def embed_texts(clip: Any, tokens: Tensor) -> Tensor:
    """Text embeddings (L, d), L2-normalised, of token ids (L, context); padding is not computed."""
    longest = int((tokens != 0).sum(dim=1).max())
    tokens = tokens[:, :longest]
    x = clip.token_embedding(tokens) + clip.positional_embedding[:longest]  # (L, T, D)
    x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:longest, :longest]))
    ends = x[torch.arange(len(x)), tokens.argmax(dim=-1)]  # (L, D)
    return F.normalize(ends @ clip.text_projection, dim=-1)


def contrastive_loss(logits: Tensor, told: Tensor) -> Tensor:
    """CLIP's loss over logits (B, L) where a picture has several texts and a text several pictures.

    `told` (B, L) bool says which; each picture has one or more. The cross-entropy of every picture
    with its texts in equal parts, and of every text with its pictures, averaged.
    """
    of_pictures = _mean_log_share(logits, told)  # (B,)
    used = told.any(dim=0)
    of_texts = _mean_log_share(logits.T, told.T)[used]
    return -(of_pictures.mean() + of_texts.mean()) / 2


def _mean_log_share(logits: Tensor, right: Tensor) -> Tensor:
    """Per row, the mean over `right` columns of the logarithm of the softmax; 0 without any."""
    log_share = logits.log_softmax(dim=1).masked_fill(~right, 0.0)
    return log_share.sum(dim=1) / right.sum(dim=1).clamp(min=1)
