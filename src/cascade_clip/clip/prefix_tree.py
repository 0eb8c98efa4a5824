"""CLIP's text encoder on many texts that begin alike, such as names in templates.

Its attention is causal: what it makes of a token depends on the tokens before it alone. So each
beginning that texts share is computed once, and nothing is computed behind their ends. For 20 names
in 80 templates that leaves a twentieth of the tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NODES_AT_ONCE = 1024
"""Nodes whose ancestors' keys and values are gathered at once."""


def reads_causally(model: Any) -> bool:
    """Whether open_clip's `model` has CLIP's own text encoder, read at each text's last token."""
    return (
        getattr(model, "attn_mask", None) is not None
        and getattr(model, "text_pool_type", None) == "argmax"
        and isinstance(model.text_projection, Tensor)
        and all(
            isinstance(block.attn, torch.nn.MultiheadAttention)
            for block in model.transformer.resblocks
        )
    )


@torch.no_grad()
def encode_tokens(model: Any, tokens: Tensor) -> Tensor:
    """What `model.encode_text` makes of token ids (L, context_length): (L, d), not normalised."""
    tree = PrefixTree.of(tokens)
    weight = model.token_embedding.weight
    paths = tree.paths().to(weight.device)  # (M, longest)
    ids = torch.tensor(tree.tokens, device=weight.device)
    depths = torch.tensor(tree.depths, device=weight.device)
    nodes = model.token_embedding(ids) + model.positional_embedding[depths]  # (M, D)
    for block in model.transformer.resblocks:
        nodes = nodes + block.ls_1(attend_to_paths(block.attn, block.ln_1(nodes), paths))
        nodes = nodes + block.ls_2(block.mlp(block.ln_2(nodes)))
    last = torch.tensor(tree.ends, device=weight.device)  # (L,)
    embeddings: Tensor = model.ln_final(nodes[last]) @ model.text_projection
    return embeddings


def attend_to_paths(attn: torch.nn.MultiheadAttention, nodes: Tensor, paths: Tensor) -> Tensor:
    """Attention of nodes (M, D) to those on their paths (M, longest), -1 where there are none."""
    projected = F.linear(nodes, attn.in_proj_weight, attn.in_proj_bias)  # (M, 3D)
    query, key, value = projected.unflatten(1, (3, attn.num_heads, -1)).unbind(dim=1)
    attended = torch.empty_like(query)  # (M, heads, D / heads)
    scale = query.shape[-1] ** -0.5
    for rows in torch.arange(len(nodes), device=nodes.device).split(NODES_AT_ONCE):
        path = paths[rows]
        on_path = path.clamp(min=0)  # (m, longest)
        scores = torch.einsum("mhd,mlhd->mhl", query[rows] * scale, key[on_path])
        scores = scores.masked_fill((path < 0)[:, None], -torch.inf)
        attended[rows] = torch.einsum("mhl,mlhd->mhd", scores.softmax(dim=-1), value[on_path])
    return F.linear(attended.flatten(1), attn.out_proj.weight, attn.out_proj.bias)


@dataclass
class PrefixTree:
    """Texts as paths from the root: a node for each beginning, parents before their children."""

    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """The node of each text's last token."""

    @classmethod
    def of(cls, tokens: Tensor) -> PrefixTree:
        """Of token ids (L, context_length), each text up to its largest id, the end."""
        tree, nodes = cls(), dict[tuple[int, int], int]()
        lengths = (tokens.argmax(dim=1) + 1).tolist()
        for text, length in zip(tokens.tolist(), lengths, strict=True):
            node = -1
            for depth, token in enumerate(text[:length]):
                parent, node = node, nodes.setdefault((node, token), len(nodes))
                if node == len(tree.tokens):
                    tree.tokens.append(token)
                    tree.depths.append(depth)
                    tree.parents.append(parent)
            tree.ends.append(node)
        return tree

    def paths(self) -> Tensor:
        """Each node's path (M, longest), itself last, filled up with -1."""
        paths = torch.full((len(self.tokens), max(self.depths) + 1), -1)
        for node, (depth, parent) in enumerate(zip(self.depths, self.parents, strict=True)):
            if parent >= 0:
                paths[node] = paths[parent]
            paths[node, depth] = node
        return paths
