"""The network: which CLIP, how its image encoder is tuned, stages and decoders."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from cascade_clip.config.base import Probability, Settings


class ClipSettings(Settings):
    """Which CLIP to stand on."""

    model: str = "picturebook"
    """`picturebook` (the embedded tiny CLIP) or any open_clip architecture, e.g. `ViT-B-16`."""
    pretrained: str | None = None
    """open_clip tag (`openai`, `laion2b_s34b_b88k`, ...), with `@REVISION` at a branch, tag or
    commit of its repository on the Hugging Face hub; or a path to a weights file."""
    quick_gelu: bool | None = None
    """Whether the weights were trained with QuickGELU, as OpenAI's were. None: as the tag says, or
    for a file as its kind or the architecture says; weights themselves don't show it."""

    @model_validator(mode="after")
    def _check(self) -> ClipSettings:
        whole = self.model == "picturebook" or self.model.startswith("local-dir:")
        if whole and (self.pretrained is not None or self.quick_gelu is not None):
            raise ValueError(
                f"'{self.model}' comes with its weights; leave pretrained and quick_gelu out, or "
                "set model to an architecture, e.g. ViT-B-16"
            )
        return self


class EncoderSettings(Settings):
    """How the frozen CLIP image encoder is tuned (deep prompts: ZegCLIP, arXiv 2212.03588)."""

    tuning: Literal[
        "deep-prompts", "shallow-prompts", "spectral-prompts", "frozen", "last-blocks", "full"
    ] = "deep-prompts"
    """What is trained: prompt tokens in every block, in the first alone, or in every block with
    SPT-SEG's spectral prompt; nothing; the last `tuned_blocks`; or all of the encoder."""
    prompts: Annotated[int, Field(ge=0, le=1000)] = 10
    """Prompt tokens per block (P). 0 for the variants without prompts."""
    prompt_dropout: Probability = 0.1
    """Share of the prompt tokens' values that are set to 0 in training, 0 to below 1."""
    tuned_blocks: NonNegativeInt = 0
    """Last blocks trained with `tuning: last-blocks`; 0 otherwise."""
    class_embedding_twice: bool = True
    """Released quirk: the class embedding is also added into its own position embedding."""
    stored_grid: Annotated[int, Field(gt=0, le=1024)] | None = None
    """Released quirk: side of the grid to which position embeddings are resized before they are
    resized once more to the actual grid (32 for 512 px crops and patch 16). None: resized once."""
    level_projection: Literal["random-frozen", "random-trained", "clip-frozen", "clip-trained"] = (
        "random-frozen"
    )
    """Where the LayerNorm and projection of intermediate levels start, and whether they train.
    The released code leaves them at their random start."""

    @model_validator(mode="before")
    @classmethod
    def _no_prompts_by_default(cls, values: Any) -> Any:
        tuning = values.get("tuning", "deep-prompts") if isinstance(values, dict) else ""
        if isinstance(tuning, str) and tuning in {"frozen", "last-blocks", "full"}:
            return {"prompts": 0, **values}
        return values

    @model_validator(mode="after")
    def _check(self) -> EncoderSettings:
        prompted = self.tuning.endswith("-prompts")
        if prompted and self.prompts == 0:
            raise ValueError(f"tuning '{self.tuning}' needs prompts >= 1, got 0")
        if not prompted and self.prompts:
            raise ValueError(f"tuning '{self.tuning}' has no prompt tokens; set prompts to 0")
        if (self.tuning == "last-blocks") != (self.tuned_blocks > 0):
            raise ValueError(
                "tuned_blocks is the number of blocks for tuning 'last-blocks' (>= 1) and 0 "
                f"otherwise; got tuning '{self.tuning}' with tuned_blocks {self.tuned_blocks}"
            )
        return self


class HeadSettings(Settings):
    """Stages, aggregation and decoders. Three published methods are three values of `stages`:

    - ZegCLIP ("single"): `[[12]]`
    - Cascade-CLIP: `[[6, 7, 8], [9, 10, 11], [12]]`
    - naive fusion: `[[6, 7, 8, 9, 10, 11, 12]]`
    """

    stages: tuple[tuple[PositiveInt, ...], ...] = ((6, 7, 8), (9, 10, 11), (12,))
    """Blocks of each stage, from 1 on, ascending; a block is in one stage at most."""
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
    decoder: Literal["cross-attention", "spectral"] = "cross-attention"
    """`cross-attention`: ZegCLIP's and Cascade-CLIP's decoder. `spectral`: SPT-SEG's (arXiv
    2312.12754), meant for `encoder.tuning: spectral-prompts`."""
    decoder_layers: Annotated[int, Field(gt=0, le=100)] = 3
    """Layers of each stage's decoder, at least 1; the last one's scores are the mask logits."""
    decoder_heads: Annotated[int, Field(gt=0, le=1024)] = 8
    """Attention heads of the decoders and of the aggregation `self-attention`; a divisor of the
    embedding width."""
    decoder_dropout: Probability = 0.1
    """Share of values that are set to 0 in the decoders' layers in training, 0 to below 1."""
    decoder_start: Literal["released", "identity"] = "released"
    """`released`: PyTorch's default initialisation. `identity`: query and key projections start at
    the identity, so that mask logits start at CLIP's own text-patch similarity."""

    @model_validator(mode="after")
    def _check(self) -> HeadSettings:
        if not self.stages or any(not stage for stage in self.stages):
            raise ValueError("stages needs at least one stage, and each stage at least one block")
        blocks = [block for stage in self.stages for block in stage]
        if any(tuple(sorted(set(stage))) != stage for stage in self.stages):
            raise ValueError(
                f"blocks within a stage must ascend without repeats, got {self.stages}"
            )
        if len(set(blocks)) != len(blocks):
            raise ValueError(f"each block belongs to one stage at most, got {self.stages}")
        if self.decoder == "spectral" and self.decoder_start == "identity":
            raise ValueError(
                "decoder 'spectral' has no query and key projections to start at the identity; "
                "set decoder_start to 'released'"
            )
        if self.decoder == "spectral" and self.decoder_heads < 2:
            raise ValueError(
                "decoder 'spectral' divides its heads between low and high frequencies, so "
                f"decoder_heads must be at least 2; got {self.decoder_heads}"
            )
        if self.aggregation in {"sum-trained", "concat", "self-attention"} and all(
            len(stage) == 1 for stage in self.stages
        ):
            raise ValueError(
                f"aggregation '{self.aggregation}' has nothing to aggregate: every stage of "
                f"{self.stages} holds one block; give a stage more blocks or use 'last'"
            )
        return self


class ModelSettings(Settings):
    """A method: encoder tuning x level projection x aggregation x head."""

    clip: ClipSettings = ClipSettings()
    encoder: EncoderSettings = EncoderSettings()
    head: HeadSettings = HeadSettings()
    float16_text: bool = False
    """Released quirk: text embeddings are rounded to float16, as they are stored there, and not
    normalised again. All else stays in float32."""
