"""Checkpoints of ZegCLIP and Cascade-CLIP, whose code goes by nearly the same names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from cascade_clip.checkpoint.released.classes import Overrides
from cascade_clip.checkpoint.released.config import Config, index_list, section
from cascade_clip.checkpoint.released.family import Family, Origin, State, shared_sizes
from cascade_clip.checkpoint.released.infer import decoder_heads
from cascade_clip.checkpoint.released.names import (
    LOSS_BUFFER,
    both,
    count,
    decoder_layer,
    shape,
    unused_self_attention,
)
from cascade_clip.config.heads import BaseHeadSettings, CrossAttentionSettings
from cascade_clip.errors import UserError

SCORES = {"multihead_attn.q": "query", "multihead_attn.k": "key"}
LAYER = SCORES | {
    "multihead_attn.v": "value",
    "multihead_attn.proj": "out",
    "norm2": "attention_norm",
    "linear1": "expand",
    "linear2": "contract",
    "norm3": "feedforward_norm",
}
"""Released name -> ours, of the parts of a decoder layer."""
_STAGES = "decode_head.cascade_decoders."


@dataclass(frozen=True)
class ZegClip(Family):
    """ZegCLIP with one stage of one level, Cascade-CLIP with more."""

    inner_levels: int
    """Levels before the last block: 6 for Cascade-CLIP, 0 for ZegCLIP."""
    stages: int
    """Decoders: 3 for Cascade-CLIP, 1 for ZegCLIP."""
    decoder_layers: int
    loss_classes: int
    """Classes of the training loss, which keeps a buffer of one entry more."""

    @property
    def cascade(self) -> bool:
        """Cascade-CLIP's names, rather than ZegCLIP's."""
        return self.stages > 1

    @property
    def origin(self) -> Origin:
        if self.cascade:
            return Origin("Cascade-CLIP", "arXiv 2406.00670")
        return Origin("ZegCLIP", "arXiv 2212.03588")

    @classmethod
    def recognises(cls, state: State, config: Config) -> bool:
        return any(name.startswith((_STAGES, "decode_head.decoder_1.")) for name in state)

    @classmethod
    def of(cls, state: State, config: Config) -> Self:
        stages = count(state, _STAGES) or 1
        first = f"{_STAGES}0" if stages > 1 else "decode_head.decoder_1"
        if LOSS_BUFFER in state:
            loss_classes = state[LOSS_BUFFER].numel() - 1
        else:
            loss_classes = len(section(config, "model", "decode_head").get("seen_idx", ()))
        return cls(
            **shared_sizes(state),
            inner_levels=count(state, "backbone.ln_layers."),
            stages=stages,
            decoder_layers=count(state, f"{first}.layers."),
            loss_classes=loss_classes,
        )

    def own_renames(self) -> dict[str, str]:
        names: dict[str, str] = {}
        if self.inner_levels:
            names["backbone.proj_layers"] = "encoder.level_projections.weights"
        for level in range(self.inner_levels):
            names |= both(f"backbone.ln_layers.{level}", f"encoder.level_projections.norms.{level}")
        for stage in range(self.stages):
            decoder, queries = self._released_stage(stage)
            names |= both(queries, f"head.query_projections.{stage}.linear")
            for layer in range(self.decoder_layers - 1):
                for theirs, ours in LAYER.items():
                    path = f"{decoder}.layers.{layer}.{theirs}"
                    names |= both(path, f"head.decoders.{stage}.layers.{layer}.{ours}")
            for theirs, ours in SCORES.items():
                path = f"{decoder}.layers.{self.decoder_layers - 1}.{theirs}"
                names |= both(path, f"head.decoders.{stage}.scores.{ours}")
        for stage in range(self.stages - 1):
            names[f"decode_head.weights_s{stage + 1}"] = f"head.aggregations.{stage}.weights"
        return names

    def dead_weights(self) -> dict[str, tuple[int, ...]]:
        """Per decoder layer the self-attention and its norm; of the last layer also all but its
        scores; and a buffer of the loss that its mask terms don't use."""
        width = self.embed_dim
        dead: dict[str, tuple[int, ...]] = {LOSS_BUFFER: (self.loss_classes + 1,)}
        for stage in range(self.stages):
            decoder, _ = self._released_stage(stage)
            for layer in range(self.decoder_layers):
                path = f"{decoder}.layers.{layer}"
                dead |= unused_self_attention(path, width)
            scores = tuple(f"{path}.{part}." for part in SCORES)
            last = decoder_layer(path, width)
            dead |= {name: size for name, size in last.items() if not name.startswith(scores)}
        return dead

    def head(self, state: State, config: Config, overrides: Overrides) -> BaseHeadSettings:
        return CrossAttentionSettings(
            stages=self._stages(state, config, overrides),
            aggregation="nga" if self.cascade else "last",
            decoder_layers=self.decoder_layers,
            decoder_heads=decoder_heads(self.embed_dim, config, overrides),
        )

    def _stages(
        self, state: State, config: Config, overrides: Overrides
    ) -> tuple[tuple[int, ...], ...]:
        if not self.cascade:
            if overrides.inner_blocks:
                raise UserError(
                    "a ZegCLIP checkpoint reads the last block only; leave inner blocks out"
                )
            return ((self.depth,),)
        blocks = overrides.inner_blocks
        if blocks is None:
            indices = section(config, "model", "backbone").get("out_indices", ())
            # In whatever order they are listed, the released encoder meets them in ascending order.
            blocks = tuple(sorted({index + 1 for index in index_list(indices, "out_indices")}))
        ascending = list(blocks) == sorted(set(blocks))
        if any(not 1 <= block < self.depth for block in blocks) or not ascending:
            raise UserError(
                f"inner blocks {list(blocks)} of the checkpoint must ascend between 1 and "
                f"{self.depth - 1}; give --inner-blocks"
            )
        names = [f"decode_head.weights_s{stage + 1}" for stage in range(self.stages - 1)]
        lengths = [shape(state, name, 1)[0] for name in names]
        if len(blocks) != sum(lengths) or len(blocks) != self.inner_levels:
            raise UserError(
                f"the checkpoint has {self.inner_levels} inner levels in stages of {lengths}, but "
                f"blocks {list(blocks)} are named; give --inner-blocks"
            )
        left = iter(blocks)
        stages = [tuple(next(left) for _ in range(length)) for length in lengths]
        return (*stages, (self.depth,))

    def _released_stage(self, stage: int) -> tuple[str, str]:
        """Released names of the decoder and of the query projection."""
        if self.cascade:
            return f"{_STAGES}{stage}", f"decode_head.q_projs.{stage}"
        return "decode_head.decoder_1", "decode_head.q_proj"
