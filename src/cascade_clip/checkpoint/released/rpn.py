"""Checkpoints of RPN (Relationship Prompt Networks)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from cascade_clip.checkpoint.released.classes import Overrides
from cascade_clip.checkpoint.released.config import Config
from cascade_clip.checkpoint.released.family import Family, Origin, State, shared_sizes
from cascade_clip.checkpoint.released.names import DEEP_PROMPTS, both, norm, shape
from cascade_clip.config import EncoderSettings
from cascade_clip.config.heads import RpnSettings
from cascade_clip.errors import UserError

RELATIONSHIP_WEIGHTS = "prompt_proj"
_HEAD = {
    "cls_proj": "query_projections.0.linear",
    "cls_proj_1": "decoders.0.query",
    "tex_norm_1": "decoders.0.query_norm",
    "vis_proj_1": "decoders.0.patch",
    "vis_norm_1": "decoders.0.patch_norm",
}
"""Released name -> ours, of the parts of the head."""


@dataclass(frozen=True)
class Rpn(Family):
    """RPN, which has one stage of the last block."""

    width: int
    """Width of the image encoder."""

    prefixes: ClassVar[tuple[str, ...]] = (*Family.prefixes, RELATIONSHIP_WEIGHTS, "prompt_norm.")
    prompts: ClassVar[tuple[str, ...]] = (DEEP_PROMPTS,)

    @property
    def origin(self) -> Origin:
        return Origin("RPN", "NeurIPS 2024")

    @classmethod
    def recognises(cls, state: State, config: Config) -> bool:
        return any(name.startswith("decode_head.vis_proj_1.") for name in state)

    @classmethod
    def of(cls, state: State, config: Config) -> Self:
        return cls(**shared_sizes(state), width=shape(state, "backbone.proj", 2)[0])

    def own_renames(self) -> dict[str, str]:
        names = {RELATIONSHIP_WEIGHTS: "encoder.relationship_prompts.weights"}
        for theirs, ours in _HEAD.items():
            names |= both(f"decode_head.{theirs}", f"head.{ours}")
        return names

    def dead_weights(self) -> dict[str, tuple[int, ...]]:
        """The segmentor's own norm; that of the backbone is the one that is used."""
        return norm("prompt_norm", self.width)

    def encoder(self, state: State, stored_grid: int) -> EncoderSettings:
        """Raises `UserError` unless relationship prompts belong to the grid of the positions."""
        patches = shape(state, RELATIONSHIP_WEIGHTS, 2)[0]
        if patches != stored_grid**2:
            raise UserError(
                f"the checkpoint's relationship prompts are made for {patches} patches, its "
                f"positions for {stored_grid} x {stored_grid}; only equal grids can be read"
            )
        shared = super().encoder(state, stored_grid)
        return shared.model_copy(update={"tuning": "relationship-prompts"})

    def head(self, state: State, config: Config, overrides: Overrides) -> RpnSettings:
        if overrides.inner_blocks:
            raise UserError("an RPN checkpoint reads the last block only; leave inner blocks out")
        return RpnSettings(stages=((self.depth,),), aggregation="last")
