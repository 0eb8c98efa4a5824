"""CLIP in its own form (arXiv 2103.00020): two transformers, one for images and one for texts.

Parts and their names, the order in which random weights are drawn, and every operation are
open_clip's, so either's weights and numbers are the other's. open_clip itself brings torchvision,
transformers and timm, whose import takes longer than torch's and everything else up to a mask.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class VisionConfig:
    """Fields of open_clip's `CLIPVisionCfg` that CLIP's own form has, with its defaults."""

    layers: int = 12
    width: int = 768
    head_width: int = 64
    mlp_ratio: float = 4.0
    patch_size: int | Sequence[int] = 16
    image_size: int | Sequence[int] = 224
    ls_init_value: float | None = None
    no_ln_pre: bool = False


@dataclass(frozen=True)
class TextConfig:
    """Fields of open_clip's `CLIPTextCfg` that CLIP's own form has, with its defaults."""

    context_length: int = 77
    vocab_size: int = 49408
    width: int = 512
    heads: int = 8
    layers: int = 12


class LayerNorm(nn.LayerNorm):
    """A LayerNorm whose result has the type of its input, under autocast, too."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).to(x.dtype)


class QuickGELU(nn.Module):
    """OpenAI's activation."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class LayerScale(nn.Module):
    """A factor for each channel."""

    def __init__(self, width: int, start: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class ResidualAttentionBlock(nn.Module):
    """Attention, then a feed-forward, each behind a LayerNorm and added to its input."""

    def __init__(
        self,
        width: int,
        heads: int,
        activation: type[nn.Module],
        mlp_ratio: float = 4.0,
        ls_init_value: float | None = None,
    ) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.ln_1 = LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ls_1 = _layer_scale(width, ls_init_value)
        self.ln_2 = LayerNorm(width)
        layers = {
            "c_fc": nn.Linear(width, hidden),
            "gelu": activation(),
            "c_proj": nn.Linear(hidden, width),
        }
        self.mlp = nn.Sequential(OrderedDict(layers))
        self.ls_2 = _layer_scale(width, ls_init_value)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """Tokens (B, M, D) to (B, M, D); `attn_mask` (M, M) is added to attention's logits."""
        mask = None if attn_mask is None else attn_mask.to(x.dtype)
        normed = self.ln_1(x)
        attended, _ = self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)
        x = x + self.ls_1(attended)
        return x + self.ls_2(self.mlp(self.ln_2(x)))


def _layer_scale(width: int, start: float | None) -> nn.Module:
    return nn.Identity() if start is None else LayerScale(width, start)


class Transformer(nn.Module):
    """Blocks, one after the other."""

    def __init__(self, blocks: list[ResidualAttentionBlock]) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """As one block."""
        for block in self.resblocks:
            x = block(x, attn_mask=attn_mask)
        return x


class VisionTransformer(nn.Module):
    """Images to image embeddings, read from the class token."""

    attn_pool = None
    pool_type = "tok"

    def __init__(self, embed_dim: int, cfg: VisionConfig, activation: type[nn.Module]) -> None:
        super().__init__()
        size, patch, width = _pair(cfg.image_size), _pair(cfg.patch_size), cfg.width
        self.image_size, self.patch_size = size, patch
        self.grid_size = (size[0] // patch[0], size[1] // patch[1])
        scale, tokens = width**-0.5, self.grid_size[0] * self.grid_size[1] + 1
        self.conv1 = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width).normal_(std=scale))
        self.positional_embedding = nn.Parameter(torch.empty(tokens, width).normal_(std=scale))
        self.patch_dropout = nn.Identity()  # as open_clip's, whose parts are compared by their repr
        self.ln_pre = nn.Identity() if cfg.no_ln_pre else LayerNorm(width)
        heads, further = width // cfg.head_width, (cfg.mlp_ratio, cfg.ls_init_value)
        blocks = [
            ResidualAttentionBlock(width, heads, activation, *further) for _ in range(cfg.layers)
        ]
        self.transformer = Transformer(blocks)
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, embed_dim).normal_(std=scale))

    def forward(self, image: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) of `image_size` to embeddings (B, d), not normalised."""
        x = self.conv1(image).flatten(2).transpose(1, 2)  # (B, N, D)
        first = self.class_embedding.to(x.dtype).expand(len(x), 1, -1)
        x = torch.cat([first, x], dim=1) + self.positional_embedding.to(x.dtype)  # (B, 1 + N, D)
        x = self.transformer(self.ln_pre(x))
        return self.ln_post(x[:, 0]) @ self.proj


def _pair(sides: int | Sequence[int]) -> tuple[int, int]:
    height, width = (sides, sides) if isinstance(sides, int) else sides
    return height, width


class CLIP(nn.Module):
    """An image encoder, and a causal text encoder, which is read at each text's last token."""

    text_pool_type = "argmax"

    def __init__(
        self,
        embed_dim: int,
        vision: VisionConfig,
        text: TextConfig,
        quick_gelu: bool,
        init_logit_bias: float | None,
    ) -> None:
        super().__init__()
        activation = QuickGELU if quick_gelu else nn.GELU
        self.visual = VisionTransformer(embed_dim, vision, activation)

        self.context_length, self.vocab_size = text.context_length, text.vocab_size
        token_embedding = nn.Embedding(text.vocab_size, text.width)  # drawn first, kept third
        blocks = [
            ResidualAttentionBlock(text.width, text.heads, activation) for _ in range(text.layers)
        ]
        self.transformer = Transformer(blocks)
        self.token_embedding = token_embedding
        self.positional_embedding = nn.Parameter(torch.empty(text.context_length, text.width))
        self.ln_final = LayerNorm(text.width)
        self.text_projection = nn.Parameter(torch.empty(text.width, embed_dim))
        self._draw_text_weights()
        mask = torch.empty(text.context_length, text.context_length)
        self.attn_mask: Tensor
        self.register_buffer("attn_mask", mask.fill_(-torch.inf).triu_(1), persistent=False)

        self.logit_scale = nn.Parameter(torch.full((), math.log(1 / 0.07)))
        self.logit_bias = None
        if init_logit_bias is not None:
            self.logit_bias = nn.Parameter(torch.full((), init_logit_bias))

    def _draw_text_weights(self) -> None:
        """The text encoder's random weights as OpenAI drew them."""
        width, blocks = self.ln_final.normalized_shape[0], list[Any](self.transformer.resblocks)
        std, out_std = width**-0.5, width**-0.5 * (2 * len(blocks)) ** -0.5
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        for block in blocks:
            nn.init.normal_(block.attn.in_proj_weight, std=std)
            nn.init.normal_(block.attn.out_proj.weight, std=out_std)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=out_std)
        nn.init.normal_(self.text_projection, std=std)

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Normalised images (B, 3, H, W) to embeddings (B, d)."""
        embeddings = self.visual(image)
        return F.normalize(embeddings, dim=-1) if normalize else embeddings

    def encode_text(self, text: Tensor, normalize: bool = False) -> Tensor:
        """Token ids (L, context_length) to embeddings (L, d)."""
        x = self.token_embedding(text) + self.positional_embedding  # (L, T, D)
        x = self.ln_final(self.transformer(x, attn_mask=self.attn_mask))
        last = x[torch.arange(len(x), device=x.device), text.argmax(dim=-1)]  # (L, D)
        embeddings = last @ self.text_projection
        return F.normalize(embeddings, dim=-1) if normalize else embeddings

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, ...]:
        """Unit embeddings of images (B, d) and texts (L, d), what cosines are multiplied by, and,
        where there is one, the bias that is added."""
        found = self.encode_image(image, True), self.encode_text(text, True), self.logit_scale.exp()
        return found if self.logit_bias is None else (*found, self.logit_bias)
