"""A network whose encoder merges patches, beside the one it was made of."""

from __future__ import annotations

import copy
from itertools import chain

from cascade_clip.model.fast.blocks import plain_block
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.protocol import MaskNetwork
from cascade_clip.model.training_free.network import TrainingFreeNetwork


def merging_tokens(network: MaskNetwork, share: float) -> MaskNetwork:
    """A network with the same weights, not copies of them, whose encoder merges `share` of the
    patches after each merging block (`PatchMerging`); for 0 `network` itself, and for networks that
    aren't built on a CLIP here, such as exported files.

    Raises `UserError` for blocks without CLIP's own attention.
    """
    if not share or not isinstance(network, (SegmentationNetwork, TrainingFreeNetwork)):
        return network
    for block in network.encoder.visual.transformer.resblocks:
        plain_block(block)
    weights = chain(network.parameters(), network.buffers())
    merging = copy.deepcopy(network, {id(weight): weight for weight in weights})
    merging.encoder.token_merging = share
    return merging
