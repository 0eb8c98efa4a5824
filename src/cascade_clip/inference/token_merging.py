"""A network whose encoder merges patches, beside the one it was made of."""

from __future__ import annotations

import copy
from itertools import chain

from torch import nn

from cascade_clip.model.encoder import ImageEncoder
from cascade_clip.model.fast.blocks import plain_block
from cascade_clip.model.protocol import MaskNetwork
from cascade_clip.model.training_free.trunk import FrozenTrunk


def merging_tokens(network: MaskNetwork, share: float) -> MaskNetwork:
    """A network with the same weights, not copies of them, whose encoder merges `share` of the
    patches after each merging block (`PatchMerging`); `network` itself if that is what it does, and
    if it has no encoder of this package, as exported files.

    Raises `UserError` for blocks without CLIP's own attention.
    """
    if all(encoder.token_merging == share for encoder in _encoders(network)):
        return network
    assert isinstance(network, nn.Module)
    weights = chain(network.parameters(), network.buffers())
    merging = copy.deepcopy(network, {id(weight): weight for weight in weights})
    for encoder in _encoders(merging):
        for block in encoder.visual.transformer.resblocks:
            plain_block(block)
        encoder.token_merging = share
    return merging


def _encoders(network: object) -> list[ImageEncoder | FrozenTrunk]:
    """Those within a network, or within what wraps it."""
    modules = network.modules() if isinstance(network, nn.Module) else ()
    return [module for module in modules if isinstance(module, (ImageEncoder, FrozenTrunk))]
