"""Training-free methods: a settings class for each kind, and their union.

Block numbers are 1-based and count those of a CLIP with 12 blocks; `model/training_free/trunk.py`
scales them to other depths. Defaults are the released code's.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat

from cascade_clip.config.base import Settings, Share

Positions = Literal["bilinear", "bicubic", "bicubic-antialias", "bicubic-factor"]
LastAttention = Literal["qk", "identity", "qq", "kk", "qq+kk", "qq+kk+vv"]
InnerBlock = Annotated[int, Field(ge=1, le=11)]
"""A block before the last of 12."""

Sigma = Annotated[float, Field(ge=0.01)]
"""A width in patches; below, its square could round to 0."""

DEFAULT_METHOD = "sc-clip"


class BaseTrainingFreeSettings(Settings):
    """What the settings of every training-free method hold."""

    kind: str
    """The method: `clip`, `maskclip` (arXiv 2112.01071), `sclip` (2312.01597), `clearclip`
    (2407.12442), `naclip` (2404.08181), `resclip` (2411.15851), `gem` (2312.00878), `sc-clip`
    (2411.15869), or `last-block`, any combination of what the first five choose from."""
    positions: Positions = "bicubic-factor"
    """How position embeddings are resized to other grids than CLIP's own: `bilinear`; `bicubic`,
    with or without antialiasing, as torch's `interpolate` does for a size; or with the factor
    (n + 0.1) / g for g positions to n, as in DINO."""


class LastBlockChoices(BaseTrainingFreeSettings):
    """Another attention in the last block, whose weights stay as they are."""

    attention: LastAttention = "qk"
    """Which of the last block's queries, keys and values a patch compares itself by: CLIP's own is
    `qk`; `identity` lets each patch see itself alone. Terms are added without halving."""
    gaussian_sigma: Sigma | None = None
    """Width, in patches, of a Gaussian of height 1 that is added to the scores between patches;
    none: not added."""
    residual: bool = True
    """Adds the last block's input to what its attention gives."""
    feed_forward: bool = True
    """Keeps the last block's feed-forward, with its skip connection."""


class LastBlockSettings(LastBlockChoices):
    """Any combination; by default CLIP as it is."""

    kind: Literal["last-block"] = "last-block"


class PlainClipSettings(LastBlockChoices):
    """CLIP as it is, its patches compared with the text."""

    kind: Literal["clip"] = "clip"


class MaskClipSettings(LastBlockChoices):
    """MaskCLIP: the last block's values alone."""

    kind: Literal["maskclip"] = "maskclip"
    attention: LastAttention = "identity"
    positions: Positions = "bicubic"


class SclipSettings(LastBlockChoices):
    """SCLIP: patches attend to those of like queries and of like keys."""

    kind: Literal["sclip"] = "sclip"
    attention: LastAttention = "qq+kk"


class ClearClipSettings(LastBlockChoices):
    """ClearCLIP: like queries; neither skip connection nor feed-forward."""

    kind: Literal["clearclip"] = "clearclip"
    attention: LastAttention = "qq"
    residual: bool = False
    feed_forward: bool = False


class NaclipSettings(LastBlockChoices):
    """NACLIP: like keys, and a prior for neighbours."""

    kind: Literal["naclip"] = "naclip"
    attention: LastAttention = "kk"
    gaussian_sigma: Sigma | None = 5.0
    residual: bool = False
    feed_forward: bool = False


class ResclipSettings(LastBlockChoices):
    """ResCLIP's residual cross-correlation self-attention, on NACLIP; without its second part,
    semantic feedback refinement, which needs a first pass over the whole picture."""

    kind: Literal["resclip"] = "resclip"
    attention: LastAttention = "kk"
    gaussian_sigma: Sigma | None = 5.0
    residual: bool = False
    feed_forward: bool = False
    correlation_blocks: Annotated[tuple[InnerBlock, ...], Field(min_length=1)] = (6, 7, 8, 9)
    """Blocks whose own attention is averaged."""
    correlation_weight: Share = 0.3
    """Share of that average in the attention (λ); 0.2 to 0.6 in the paper."""
    temperature: PositiveFloat = 2.0
    """Factor on the mixed attention (τ)."""


class GemSettings(BaseTrainingFreeSettings):
    """GEM: a second stream through the last blocks, of self-self attention alone."""

    kind: Literal["gem"] = "gem"
    positions: Positions = "bicubic-antialias"
    depth: Annotated[int, Field(ge=2, le=1000)] = 7
    """One more than the blocks of the second stream, counted from the last; all blocks where a CLIP
    has fewer."""
    iterations: Annotated[int, Field(ge=0, le=100)] = 1
    """How often queries, keys and values are averaged over those like them."""
    temperature: PositiveFloat | None = None
    """Factor on cosines before their softmax; none: the mean length of the tokens by which a block
    attends, over the square root of a head's width."""


class ScClipSettings(BaseTrainingFreeSettings):
    """SC-CLIP: patches of the last block but one, without outliers, averaged over those that are
    alike in a middle block; the intermediate blocks pass through the last one's attention, too."""

    kind: Literal["sc-clip"] = "sc-clip"
    outlier_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    """Share of patches, by local outlier factor, that are replaced by the mean of their neighbours
    in the picture; 0: none."""
    neighbours: Annotated[int, Field(ge=1, le=1000)] = 30
    """Of the local outlier factor, in the space of features; at most half of the other patches."""
    similarity_block: InnerBlock = 9
    """The block by whose patches similarity is measured."""
    similarity_threshold: Annotated[float, Field(ge=-1.0, le=1.0)] = 0.4
    """Cosine from which on patches are averaged (β)."""
    similarity_scale: PositiveFloat = 3.0
    """Factor on the difference between a cosine and the mean cosine in the attention (γ)."""
    attention: Literal["kk", "similarity", "both"] = "both"
    """By what the last block attends; `both`: their mean."""
    class_token_weight: NonNegativeFloat = 0.3
    """Of the class token, which is added to every patch (ρ)."""
    aggregate_before: bool = True
    """Averages alike patches before the last block's attention."""
    aggregate_after: bool = True
    """Averages patches after it that are alike in `low_block`."""
    low_block: InnerBlock = 4
    """A block that still sees shapes."""
    fusion_blocks: tuple[InnerBlock, ...] = (4, 5, 6, 7, 8, 9, 10)
    """Blocks whose sum passes through the last block's attention and is added; `[]`: none."""


def _with_kind(values: Any) -> Any:
    if isinstance(values, str):
        return {"kind": values}
    return {"kind": DEFAULT_METHOD, **values} if isinstance(values, dict) else values


TrainingFreeSettings = Annotated[
    ScClipSettings
    | NaclipSettings
    | ResclipSettings
    | ClearClipSettings
    | SclipSettings
    | GemSettings
    | MaskClipSettings
    | PlainClipSettings
    | LastBlockSettings,
    Field(discriminator="kind"),
    BeforeValidator(_with_kind),
]
"""Settings of any training-free method; `kind` says which, by default `sc-clip`."""


def training_free_kinds() -> dict[str, type[BaseTrainingFreeSettings]]:
    """The settings class of each kind."""
    kinds = get_args(get_args(TrainingFreeSettings)[0])
    return {one.model_fields["kind"].default: one for one in kinds}
