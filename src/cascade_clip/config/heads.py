"""The heads: a settings class for each kind, and their union (docs/adding-a-method.md)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from cascade_clip.config.base import Probability, Settings

DEFAULT_KIND = "cross-attention"


class BaseHeadSettings(Settings):
    """What the settings of every kind of head hold. Three published methods are three values of
    `stages`:

    - ZegCLIP ("single"): `[[12]]`
    - Cascade-CLIP: `[[6, 7, 8], [9, 10, 11], [12]]`
    - naive fusion: `[[6, 7, 8, 9, 10, 11, 12]]`
    """

    kind: str
    """Which head: `clip-rc`, CLIP-RC's (CVPR 2024), which needs `encoder.regions`;
    `cross-attention`, ZegCLIP's and Cascade-CLIP's; `otseg`, OTSeg's (arXiv 2403.14183); `rpn`,
    RPN's (NeurIPS 2024), meant for `encoder.tuning: relationship-prompts`; `spectral`, SPT-SEG's
    (arXiv 2312.12754), meant for `encoder.tuning: spectral-prompts`."""
    stages: tuple[tuple[PositiveInt, ...], ...] = ((6, 7, 8), (9, 10, 11), (12,))
    """Blocks of each stage, from 1 on, ascending; a block is in one stage at most."""

    @property
    def stages_read(self) -> tuple[tuple[int, ...], ...]:
        """The blocks whose features each stage takes; the encoder computes no others."""
        return self.stages

    @model_validator(mode="after")
    def _check_stages(self) -> BaseHeadSettings:
        if not self.stages or any(not stage for stage in self.stages):
            raise ValueError("stages needs at least one stage, and each stage at least one block")
        blocks = [block for stage in self.stages for block in stage]
        if any(tuple(sorted(set(stage))) != stage for stage in self.stages):
            raise ValueError(
                f"blocks within a stage must ascend without repeats, got {self.stages}"
            )
        if len(set(blocks)) != len(blocks):
            raise ValueError(f"each block belongs to one stage at most, got {self.stages}")
        return self


class StagedSettings(BaseHeadSettings):
    """Heads whose stages each aggregate their levels and query them on their own."""

    aggregation: Literal[
        "nga", "nga-fixed", "sum", "sum-trained", "mean", "concat", "self-attention", "last"
    ] = "nga"
    """How the levels of one stage become one feature (paper Eq. 4, Table 8)."""
    sigma: PositiveFloat = 1.0
    """Width of the neighbourhood Gaussian, in blocks (Table 16)."""
    shared_queries: bool = False
    """One query projection for all stages instead of one each (Table 9)."""
    relationship_descriptor: bool = True
    """Queries from concat(T * g, T) (ZegCLIP Eq. 6) instead of T alone."""

    @property
    def attention_heads(self) -> int:
        """Attention heads of the aggregation `self-attention`."""
        return 1

    @property
    def stages_read(self) -> tuple[tuple[int, ...], ...]:
        """With aggregation `last`, a stage takes its last block alone."""
        if self.aggregation == "last":
            return tuple(stage[-1:] for stage in self.stages)
        return self.stages

    @model_validator(mode="after")
    def _check_aggregation(self) -> StagedSettings:
        if self.aggregation in {"sum-trained", "concat", "self-attention"} and all(
            len(stage) == 1 for stage in self.stages
        ):
            raise ValueError(
                f"aggregation '{self.aggregation}' has nothing to aggregate: every stage of "
                f"{self.stages} holds one block; give a stage more blocks or use 'last'"
            )
        return self


class CascadeSettings(StagedSettings):
    """Heads whose stages each have a decoder of several layers."""

    decoder_layers: Annotated[int, Field(gt=0, le=100)] = 3
    """Layers of each stage's decoder, at least 1; the last one's scores are the mask logits."""
    decoder_heads: Annotated[int, Field(gt=0, le=1024)] = 8
    """Attention heads of the decoders and of the aggregation `self-attention`; a divisor of the
    embedding width."""
    decoder_dropout: Probability = 0.1
    """Share of values that are set to 0 in the decoders' layers in training, 0 to below 1."""

    @property
    def attention_heads(self) -> int:
        """Attention heads of the aggregation `self-attention`."""
        return self.decoder_heads


class ClipRcSettings(CascadeSettings):
    """CLIP-RC's head (CVPR 2024): queries for each class in each region, which attend to patches
    and are attended to. Needs region tokens: `encoder.regions`."""

    kind: Literal["clip-rc"] = "clip-rc"
    relationship_descriptor: Literal[True] = True
    """Queries always know the image and the region, from concat((V + g) * T, T)."""
    recovery_weight: NonNegativeFloat = 2.0
    """Weight of the two terms of the recovery loss, from 0 on; 0: there is none."""
    decoder_start: Literal["released", "identity"] = "released"
    """`released`: PyTorch's default initialisation. `identity`: queries start as the text
    embeddings, patches as CLIP's own, and mask logits at a multiple of their similarity."""


class CrossAttentionSettings(CascadeSettings):
    """ZegCLIP's and Cascade-CLIP's head: class queries attend to patches."""

    kind: Literal["cross-attention"] = "cross-attention"
    decoder_start: Literal["released", "identity"] = "released"
    """`released`: PyTorch's default initialisation. `identity`: query and key projections start at
    the identity, so that mask logits start at CLIP's own text-patch similarity."""


class OTSegSettings(StagedSettings):
    """OTSeg's head (arXiv 2403.14183): several prompts a class (`data.average_templates: false`)
    divide the patches among themselves by optimal transport, in the decoder and beside it."""

    kind: Literal["otseg"] = "otseg"
    test_scores: Literal["decoder", "ensemble"] = "ensemble"
    """Mask logits at test: the decoder's (OTSeg), or half of these and half of the prompts' own
    scores (OTSeg+). Training is the same."""
    sinkhorn_rounds: Annotated[int, Field(gt=0, le=1000)] | None = None
    """Sinkhorn's iterations; none: until they stand still, at most 100, as in the released code,
    where all pictures and classes of a forward pass decide together."""
    prompt_scores: Literal["mean", "sum"] = "mean"
    """What the prompts' own scores of several stages become; the decoders' are summed."""
    decoder_start: Literal["released", "identity"] = "released"
    """`released`: PyTorch's default initialisation. `identity`: queries start as the text
    embeddings, and both paths at the transport between these and CLIP's own patches."""
    decoder_layers: Annotated[int, Field(gt=0, le=100)] = 3
    """Layers of each stage's decoder, at least 1; the others gate the scores of the last one."""
    decoder_dropout: Probability = 0.1
    """Share of values that are set to 0 in the decoders' layers in training, 0 to below 1."""


class RpnSettings(StagedSettings):
    """RPN's head (Relationship Prompt Networks, NeurIPS 2024), meant for `encoder.tuning:
    relationship-prompts`: no decoder, but products of projected queries and patches."""

    kind: Literal["rpn"] = "rpn"


class SpectralSettings(CascadeSettings):
    """SPT-SEG's head (arXiv 2312.12754): the patches are mixed by frequency before they are
    attended to."""

    kind: Literal["spectral"] = "spectral"
    decoder_heads: Annotated[int, Field(ge=2, le=1024)] = 8
    """Attention heads, divided between low and high frequencies, so at least 2; a divisor of the
    embedding width."""


def _with_kind(values: Any) -> Any:
    return {"kind": DEFAULT_KIND, **values} if isinstance(values, dict) else values


HeadSettings = Annotated[
    ClipRcSettings | CrossAttentionSettings | OTSegSettings | RpnSettings | SpectralSettings,
    Field(discriminator="kind"),
    BeforeValidator(_with_kind),
]
"""Settings of any head; `kind` says which, by default `cross-attention`."""


def head_kinds() -> dict[str, type[BaseHeadSettings]]:
    """The settings class of each kind."""
    return {one.model_fields["kind"].default: one for one in get_args(get_args(HeadSettings)[0])}
