"""The network: which CLIP, how its image encoder is tuned, which head."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, model_validator

from cascade_clip.config.base import Probability, Settings
from cascade_clip.config.heads import ClipRcSettings, CrossAttentionSettings, HeadSettings
from cascade_clip.config.training_free import TrainingFreeSettings

EMBEDDED_CLIP = "picturebook"
"""The CLIP within the package that the embedded model stands on."""
EMBEDDED_CLIPS = {EMBEDDED_CLIP: "tiny", "picturebook-dense": "dense"}
"""The CLIPs within the package, with the folders in `cascade_clip.clip` that hold them."""
LOCAL_DIR = "local-dir:"
"""Before the path of a folder in open_clip's layout."""
FROM_WEIGHTS = "auto"
"""Architecture of a weights file whose sizes tell it."""


class ClipSettings(Settings):
    """Which CLIP to stand on."""

    model: str = EMBEDDED_CLIP
    """`picturebook` or `picturebook-dense` (the embedded tiny CLIPs), any open_clip
    architecture, e.g. `ViT-B-16`, `local-dir:FOLDER` (open_clip's folder layout), or `auto`: as the
    sizes in the file tell."""
    pretrained: str | None = None
    """open_clip tag (`openai`, `laion2b_s34b_b88k`, ...), with `@REVISION` at a branch, tag or
    commit of its repository on the Hugging Face hub; or a path to a weights file."""
    quick_gelu: bool | None = None
    """Whether the weights were trained with QuickGELU, as OpenAI's were. None: as the tag says, or
    for a file as its kind or the architecture says; weights themselves don't show it."""

    @property
    def embedded(self) -> bool:
        """Whether it is one of the package's own, which know drawn scenes only."""
        return self.model in EMBEDDED_CLIPS

    @property
    def whole(self) -> bool:
        """Whether `model` comes with its weights: embedded, or a folder."""
        return self.embedded or self.model.startswith(LOCAL_DIR)

    @model_validator(mode="after")
    def _check(self) -> ClipSettings:
        if self.whole and (self.pretrained is not None or self.quick_gelu is not None):
            raise ValueError(
                f"'{self.model}' comes with its weights; leave pretrained and quick_gelu out, or "
                "set model to an architecture, e.g. ViT-B-16"
            )
        if self.model == FROM_WEIGHTS and self.pretrained is None:
            raise ValueError(f"'{FROM_WEIGHTS}' needs a weights file: set pretrained to its path")
        return self


class EncoderSettings(Settings):
    """How the frozen CLIP image encoder is tuned (deep prompts: ZegCLIP, arXiv 2212.03588)."""

    tuning: Literal[
        "deep-prompts",
        "shallow-prompts",
        "spectral-prompts",
        "relationship-prompts",
        "frozen",
        "last-blocks",
        "full",
    ] = "deep-prompts"
    """What is trained: prompt tokens in every block, in the first alone, in every block with
    SPT-SEG's spectral prompt, or in every block with RPN's relationship prompts, a token per class;
    nothing; the last `tuned_blocks`; or all of the encoder."""
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
    regions: Annotated[int, Field(gt=0, le=64)] | None = None
    """Side r of CLIP-RC's region tokens (CVPR 2024): r * r frozen tokens, each of which sees one
    cell of the patches and is seen by them alone. None: there are none."""
    level_projection: Literal[
        "random-frozen", "random-trained", "clip-frozen", "clip-trained", "value-path"
    ] = "random-frozen"
    """Where the LayerNorm and projection of intermediate levels start, and whether they train.
    The released code leaves them at their random start. `value-path`: none is added, they pass
    through the last block's values and CLIP's own projection, as in SC-CLIP (arXiv 2411.15869)."""

    @property
    def prompted(self) -> bool:
        """Whether there are prompt tokens."""
        return self.tuning.endswith("-prompts")

    @property
    def mergeable(self) -> bool:
        """Whether blocks see class token, patches and deep prompts alone."""
        plain = self.tuning == "deep-prompts" or not self.prompted
        return plain and self.regions is None

    @model_validator(mode="before")
    @classmethod
    def _no_prompts_by_default(cls, values: Any) -> Any:
        tuning = values.get("tuning", "deep-prompts") if isinstance(values, dict) else ""
        if isinstance(tuning, str) and tuning in {"frozen", "last-blocks", "full"}:
            return {"prompts": 0, **values}
        return values

    @model_validator(mode="after")
    def _check(self) -> EncoderSettings:
        if self.prompted and self.prompts == 0:
            raise ValueError(f"tuning '{self.tuning}' needs prompts >= 1, got 0")
        if not self.prompted and self.prompts:
            raise ValueError(f"tuning '{self.tuning}' has no prompt tokens; set prompts to 0")
        if (self.tuning == "last-blocks") != (self.tuned_blocks > 0):
            raise ValueError(
                "tuned_blocks is the number of blocks for tuning 'last-blocks' (>= 1) and 0 "
                f"otherwise; got tuning '{self.tuning}' with tuned_blocks {self.tuned_blocks}"
            )
        if self.regions is not None and self.tuning in {"spectral-prompts", "relationship-prompts"}:
            raise ValueError(
                f"{self.tuning} are made of all tokens but the first, so that regions can't be "
                "among these; set regions to null, or tuning to deep-prompts"
            )
        return self


class ModelSettings(Settings):
    """A method: how the encoder is tuned, and what the head makes of its levels."""

    clip: ClipSettings = ClipSettings()
    encoder: EncoderSettings = EncoderSettings()
    head: HeadSettings = CrossAttentionSettings()
    training_free: TrainingFreeSettings | None = None
    """A method that needs no training, in place of encoder settings and head; none: a trained
    network."""
    float16_text: bool = False
    """Released quirk: text embeddings are rounded to float16, as they are stored there, and not
    normalised again. All else stays in float32."""

    @model_validator(mode="after")
    def _check(self) -> ModelSettings:
        if isinstance(self.head, ClipRcSettings) and self.encoder.regions is None:
            raise ValueError(
                "the head 'clip-rc' reads region tokens; set model.encoder.regions to the side of "
                "their grid, 4 as published"
            )
        return self
