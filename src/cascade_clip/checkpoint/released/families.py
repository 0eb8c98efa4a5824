"""The families of released checkpoints, and of which one a checkpoint is."""

from __future__ import annotations

from cascade_clip.checkpoint.released.clip_rc import ClipRc
from cascade_clip.checkpoint.released.config import Config
from cascade_clip.checkpoint.released.family import Family, State
from cascade_clip.checkpoint.released.names import TEXT_PREFIX, refuse
from cascade_clip.checkpoint.released.otseg import OTSeg
from cascade_clip.checkpoint.released.rpn import Rpn
from cascade_clip.checkpoint.released.zegclip import ZegClip
from cascade_clip.errors import UserError

FAMILIES: tuple[type[Family], ...] = (ClipRc, OTSeg, ZegClip, Rpn)
"""The first that recognises a checkpoint has it."""


def family_of(state: State, config: Config) -> Family:
    """The family of a checkpoint, at its sizes. Raises `UserError` if there is none."""
    prefixes = {prefix for family in FAMILIES for prefix in family.prefixes} | {TEXT_PREFIX}
    foreign = {name for name in state if not name.startswith(tuple(prefixes))}
    refuse("unknown weights, of no method that can be converted", foreign)
    for family in FAMILIES:
        if family.recognises(state, config):
            return family.of(state, config)
    raise UserError(
        "the checkpoint has no decoder of a method that can be converted: it is neither a "
        "Cascade-CLIP nor a ZegCLIP, OTSeg, CLIP-RC or RPN checkpoint"
    )
