"""Checkpoints of OTSeg, whose weights go by ZegCLIP's names; its config tells them apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cascade_clip.checkpoint.released.classes import Overrides
from cascade_clip.checkpoint.released.config import Config, section
from cascade_clip.checkpoint.released.family import Origin, State
from cascade_clip.checkpoint.released.zegclip import ZegClip
from cascade_clip.config import Templates
from cascade_clip.config.heads import OTSegSettings
from cascade_clip.errors import UserError

CONTEXT_CROP, CONTEXT_SHORT_SIDE = 480, 520
"""Of the windows on PASCAL Context, and of the pictures there."""


@dataclass(frozen=True)
class OTSeg(ZegClip):
    """With one stage, as released. Dead and live weights are those of ZegCLIP."""

    @property
    def origin(self) -> Origin:
        return Origin("OTSeg+", "arXiv 2403.14183")

    @classmethod
    def recognises(cls, state: State, config: Config) -> bool:
        model = section(config, "model")
        several = model.get("type") == "OTSeg" or bool(model.get("multi_prompts"))
        return several and ZegClip.recognises(state, config)

    def head(self, state: State, config: Config, overrides: Overrides) -> OTSegSettings:
        if self.cascade or self.inner_levels or overrides.inner_blocks:
            raise UserError(
                "an OTSeg checkpoint has one decoder and reads the last block only; leave inner "
                "blocks out"
            )
        if overrides.decoder_heads is not None:
            raise UserError("OTSeg's decoder has one head; leave decoder heads out")
        return OTSegSettings(
            stages=((self.depth,),), aggregation="last", decoder_layers=self.decoder_layers
        )

    def templates(self, config: Config) -> Templates:
        """6 on VOC, 8 elsewhere."""
        return "otseg-6" if section(config, "model").get("number_prompts") == 6 else "otseg-8"

    def recipe(self, config: Config) -> dict[str, Any]:
        size = section(config, "model", "decode_head").get("img_size")
        scaled = {"inference": {"short_side": CONTEXT_SHORT_SIDE}} if size == CONTEXT_CROP else {}
        return {"data": {"average_templates": False}, **scaled}
