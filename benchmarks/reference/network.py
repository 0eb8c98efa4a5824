"""The reference network with the weights of one of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from benchmarks.reference.decoder import Head
from benchmarks.reference.encoder import Backbone
from torch import Tensor, nn

from cascade_clip.checkpoint.released.names import (
    LOSS_BUFFER,
    TEXT_PREFIX,
)
from cascade_clip.checkpoint.released.zegclip import ZegClip
from cascade_clip.model.network import SegmentationNetwork


@dataclass(frozen=True)
class ReferenceSizes:
    """Sizes that the weights don't tell."""

    vision_heads: int
    decoder_heads: int
    image_size: int
    """Side to which mask logits are upsampled, in pixels: the training size."""
    inner_levels: tuple[int, ...]
    """Blocks (0-based) before the last one whose features are used."""


class ReferenceNetwork(nn.Module):
    """Images (B, 3, H, W) and T (C, d) to mask logits (B, C, S, S)."""

    def __init__(self, state: Mapping[str, Tensor], sizes: ReferenceSizes) -> None:
        """`state` holds the released names, dead weights included; text encoder and the loss's
        buffer are passed over."""
        super().__init__()
        positions, width = state["backbone.positional_embedding"].shape
        depth = 1 + len(state["backbone.deep_prompt_embeddings"])
        layers = {name.split(".layers.")[1][0] for name in state if ".multihead_attn." in name}
        self.backbone = Backbone(
            width=width,
            heads=sizes.vision_heads,
            depth=depth,
            patch=state["backbone.conv1.weight"].shape[-1],
            positions=positions,
            embed_dim=state["backbone.proj"].shape[1],
            prompts=state["backbone.prompt_embeddings"].shape[1],
            inner_levels=sizes.inner_levels,
        )
        self.decode_head = Head(
            embed_dim=state["backbone.proj"].shape[1],
            heads=sizes.decoder_heads,
            layers=len(layers),
            levels=len(sizes.inner_levels) + 1,
            image_size=sizes.image_size,
        )
        own = {n: v for n, v in state.items() if n != LOSS_BUFFER and TEXT_PREFIX not in n}
        self.load_state_dict(own)
        self.requires_grad_(False)
        self.decode_head.requires_grad_(True)
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_("prompt" in name)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        levels, global_embedding = self.backbone(image)
        return self.decode_head(levels, global_embedding, text)


def reference_of(network: SegmentationNetwork, image_size: int) -> ReferenceNetwork:
    """The reference with a network's weights; the network has the released form."""
    encoder, head = network.encoder, network.head
    family = ZegClip(
        depth=encoder.depth,
        inner_levels=len(encoder.inner_blocks),
        stages=len(head.stages),
        decoder_layers=network.settings.head.decoder_layers,
        embed_dim=encoder.embed_dim,
        text_depth=0,
        loss_classes=1,
    )
    state = {**_dead_weights(family), **family.to_released(network.state_dict())}
    reference = ReferenceNetwork(
        {name: value.detach().clone() for name, value in state.items()},
        ReferenceSizes(
            vision_heads=encoder.visual.transformer.resblocks[0].attn.num_heads,
            decoder_heads=network.settings.head.decoder_heads,
            image_size=image_size,
            inner_levels=tuple(block - 1 for block in encoder.inner_blocks),
        ),
    )
    return reference.train(network.training)


def _dead_weights(family: ZegClip) -> dict[str, Tensor]:
    """Zeros for the weights that nothing reads, so that the reference loads strictly."""
    return {name: torch.zeros(shape) for name, shape in family.dead_weights().items()}
