"""One stage of a network by itself."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.protocol import Output


class StageView(nn.Module):
    """A network of which only the mask logits of stage `stage` (0-based) count."""

    def __init__(self, network: SegmentationNetwork, stage: int) -> None:
        super().__init__()
        self.network = network
        self.stage = stage

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return self.network.patch_size

    def forward(self, image: Tensor, text_embeddings: Tensor) -> Output:
        """As the network's, with `mask_logits` (B, C, h, w) those of the one stage."""
        output: Output = self.network(image, text_embeddings)
        return replace(output, mask_logits=output.stage_logits[self.stage])


def stage_names(network: SegmentationNetwork) -> list[str]:
    """`blocks 6-8`, ... or `block 12`: the blocks of each stage, 1-based."""
    return [
        f"block {stage[0]}" if len(stage) == 1 else f"blocks {stage[0]}-{stage[-1]}"
        for stage in network.settings.head.stages_read
    ]
