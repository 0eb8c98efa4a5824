"""The prompted CLIP image encoder: every token, prompts included, goes through everything."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, 4 * width),
                gelu=QuickGELU(),
                c_proj=nn.Linear(4 * width, width),
            )
        )
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(depth))


class Backbone(nn.Module):
    """Images (B, 3, H, W) to level features (B, d, h, w) and global embeddings (B, d)."""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        depth: int,
        patch: int,
        positions: int,
        embed_dim: int,
        prompts: int,
        inner_levels: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.inner_levels = inner_levels
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(positions, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, heads, depth)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, embed_dim))
        self.prompt_embeddings = nn.Parameter(torch.empty(1, prompts, width))
        self.deep_prompt_embeddings = nn.Parameter(torch.empty(depth - 1, prompts, width))
        self.prompt_proj = nn.Linear(width, width)
        self.prompt_dropout = nn.Dropout(0.1)
        self.prompt_norm = nn.LayerNorm(width, eps=1e-6)
        if inner_levels:
            self.ln_layers = nn.ModuleList(nn.LayerNorm(width) for _ in inner_levels)
            self.proj_layers = nn.Parameter(torch.empty(len(inner_levels), width, embed_dim))

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        patches = self.conv1(image)  # (B, D, h, w)
        batch, _, h, w = patches.shape
        patches = patches.flatten(2).permute(0, 2, 1)  # (B, N, D)
        token = self.class_embedding.expand(batch, 1, -1)
        x = torch.cat([token, patches], dim=1) + self.positions(h, w)
        x = self.ln_pre(x)  # (B, 1 + N, D)
        features = []
        for index, block in enumerate(self.transformer.resblocks):
            x = torch.cat([x[:, :1], self.prompts(index, batch), x[:, -h * w :]], dim=1)
            x = block(x.permute(1, 0, 2)).permute(1, 0, 2)  # (B, 1 + P + N, D)
            if index in self.inner_levels:
                level = self.inner_levels.index(index)
                seen = self.ln_layers[level](self.prompt_norm(x)[:, -h * w :])
                features.append(self.as_map(seen @ self.proj_layers[level], h, w))
        x = self.ln_post(self.prompt_norm(x)) @ self.proj  # (B, 1 + P + N, d)
        features.append(self.as_map(x, h, w))
        return features, F.normalize(x[:, 0], dim=-1)

    def positions(self, h: int, w: int) -> Tensor:
        """(1, 1 + N, D); the class embedding is in here a second time, as released."""
        position = self.positional_embedding
        side = round((len(position) - 1) ** 0.5)
        plane = position[1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        plane = F.interpolate(plane, size=(h, w), mode="bilinear", align_corners=False)
        token = position[0] + self.class_embedding
        return torch.cat([token[None, None], plane.flatten(2).permute(0, 2, 1)], dim=1)

    def prompts(self, index: int, batch: int) -> Tensor:
        own = self.prompt_embeddings if index == 0 else self.deep_prompt_embeddings[index - 1][None]
        return self.prompt_dropout(self.prompt_proj(own).expand(batch, -1, -1))

    @staticmethod
    def as_map(tokens: Tensor, h: int, w: int) -> Tensor:
        tokens = F.normalize(tokens[:, -h * w :], dim=-1)  # (B, N, d)
        return tokens.permute(0, 2, 1).unflatten(2, (h, w))
