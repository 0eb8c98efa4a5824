"""Checkpoints of CLIP-RC."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any, Self

from cascade_clip.checkpoint.released.classes import Overrides
from cascade_clip.checkpoint.released.config import Config, section
from cascade_clip.checkpoint.released.family import Family, Origin, State, shared_sizes
from cascade_clip.checkpoint.released.infer import decoder_heads
from cascade_clip.checkpoint.released.names import (
    both,
    count,
    decoder_layer,
    linear,
    shape,
    unused_self_attention,
)
from cascade_clip.checkpoint.released.zegclip import LAYER
from cascade_clip.config import EncoderSettings
from cascade_clip.config.heads import ClipRcSettings
from cascade_clip.errors import UserError

_REGIONS = "backbone.region_level_bridge"
_RECOVERY = "decode_head.recovery_decoder"
_SIDES = {"q": "queries", "v": "patches"}
"""What the released names call the two sides of a layer."""
_RECOVERY_LAYERS = {
    f"{_RECOVERY}.decouple_{released}.0": f"head.recovery.layer.{ours}"
    for released, ours in _SIDES.items()
}
RELEASED_RECOVERY = 2.0
"""Weight of the recovery loss where the configuration names none."""


@dataclass(frozen=True)
class ClipRc(Family):
    """CLIP-RC: region tokens, a two-way decoder, recovery in training."""

    decoder_layers: int
    recovery_weight: float
    """Of its loss; 0 where nothing was recovered, and the weights for it are dead."""

    @property
    def origin(self) -> Origin:
        return Origin("CLIP-RC", "CVPR 2024, pp. 3270-3280")

    @classmethod
    def recognises(cls, state: State, config: Config) -> bool:
        return _REGIONS in state

    @classmethod
    def of(cls, state: State, config: Config) -> Self:
        layers = count(state, "decode_head.decoder_q.layers.")
        weight = _loss(config).get("recovery_loss_weight", RELEASED_RECOVERY)
        if not isinstance(weight, int | float) or weight < 0:
            raise UserError(
                f"the checkpoint's config holds 'recovery_loss_weight' = {weight!r}; expected a "
                "number from 0 on"
            )
        return cls(**shared_sizes(state), decoder_layers=layers, recovery_weight=weight)

    def own_renames(self) -> dict[str, str]:
        names = {_REGIONS: "encoder.regions.tokens"}
        names |= both("decode_head.q_proj", "head.query_projections.0.linear")
        names |= both("decode_head.lateral_proj", "head.lateral_projections.0")
        layers = self._decoder_layers()
        if self.recovery_weight:
            layers |= _RECOVERY_LAYERS
            names |= both(f"{_RECOVERY}.linear_q_in", "head.recovery.queries_in")
            names |= both(f"{_RECOVERY}.linear_k_in", "head.recovery.patches_in")
            names |= both(f"{_RECOVERY}.linear_q_out", "head.recovery.queries_out")
            names |= both(f"{_RECOVERY}.linear_k_out", "head.recovery.patches_out")
        for released, ours in layers.items():
            for theirs, part in LAYER.items():
                names |= both(f"{released}.{theirs}", f"{ours}.{part}")
        return names

    def dead_weights(self) -> dict[str, tuple[int, ...]]:
        """Self-attention and its norm, of every layer; what recovers, if its loss has no weight."""
        width, dead = self.embed_dim, dict[str, tuple[int, ...]]()
        for path in (*self._decoder_layers(), *_RECOVERY_LAYERS):
            dead |= unused_self_attention(path, width)
        if not self.recovery_weight:
            for path in _RECOVERY_LAYERS:
                dead |= decoder_layer(path, width)
            for name in ("linear_q_in", "linear_k_in", "linear_k_out"):
                dead |= linear(f"{_RECOVERY}.{name}", width, width)
            dead |= linear(f"{_RECOVERY}.linear_q_out", 2 * width, width)
        return dead

    def encoder(self, state: State, stored_grid: int) -> EncoderSettings:
        regions, _ = shape(state, _REGIONS, 2)
        side = isqrt(regions)
        if side * side != regions:
            raise UserError(f"the checkpoint's {regions} region tokens are not a square grid")
        return super().encoder(state, stored_grid).model_copy(update={"regions": side})

    def head(self, state: State, config: Config, overrides: Overrides) -> ClipRcSettings:
        if overrides.inner_blocks:
            raise UserError(
                "a CLIP-RC checkpoint reads the last block only; leave inner blocks out"
            )
        return ClipRcSettings(
            stages=((self.depth,),),
            aggregation="last",
            decoder_layers=self.decoder_layers,
            decoder_heads=decoder_heads(self.embed_dim, config, overrides),
            recovery_weight=self.recovery_weight,
        )

    def recipe(self, config: Config) -> dict[str, Any]:
        """The weights of its loss."""
        given = _loss(config)
        named = {"focal_weight": "mask_weight", "dice_weight": "dice_weight"}
        return {"loss": {ours: given[theirs] for ours, theirs in named.items() if theirs in given}}

    def _decoder_layers(self) -> dict[str, str]:
        """Released name -> ours, of both sides of the decoder's layers."""
        return {
            f"decode_head.decoder_{side}.layers.{layer}": f"head.decoders.0.layers.{layer}.{ours}"
            for side, ours in _SIDES.items()
            for layer in range(self.decoder_layers)
        }


def _loss(config: Config) -> Config:
    return section(config, "model", "decode_head", "loss_decode")
