"""Every setting of the toolkit, typed and documented.

A `Recipe` is read once (from a YAML delta plus `key=value` overrides, see `recipes.py`), checked
here, and handed on unchanged; nothing downstream has settings of its own. Block numbers are
1-based, as in the Cascade-CLIP paper (arXiv 2406.00670): block 12 is the last one of a ViT-B.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
RGB = tuple[float, float, float]
Setting = Literal["inductive", "transductive", "full"]

IMAGENET_MEAN: RGB = (123.675 / 255, 116.28 / 255, 103.53 / 255)
IMAGENET_STD: RGB = (58.395 / 255, 57.12 / 255, 57.375 / 255)


class Settings(BaseModel):
    """Base of all settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ClipSettings(Settings):
    """Which CLIP to stand on."""

    model: str = "picturebook"
    """`picturebook` (the embedded tiny CLIP) or any open_clip architecture, e.g. `ViT-B-16`."""
    pretrained: str | None = None
    """open_clip tag (`openai`, `laion2b_s34b_b88k`, ...) or a path to a weights file."""


class EncoderSettings(Settings):
    """How the frozen CLIP image encoder is tuned (deep prompts: ZegCLIP, arXiv 2212.03588)."""

    tuning: Literal[
        "deep-prompts", "shallow-prompts", "spectral-prompts", "frozen", "last-blocks", "full"
    ] = "deep-prompts"
    prompts: NonNegativeInt = 10
    """Prompt tokens per block (P). 0 for the variants without prompts."""
    prompt_dropout: Probability = 0.1
    tuned_blocks: NonNegativeInt = 0
    """Last blocks trained with `tuning: last-blocks`; 0 otherwise."""
    class_embedding_twice: bool = True
    """Released quirk: the class embedding is also added into its own position embedding."""
    stored_grid: PositiveInt | None = None
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
    decoder_layers: PositiveInt = 3
    decoder_heads: PositiveInt = 8
    decoder_dropout: Probability = 0.1
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


class LossSettings(Settings):
    """Weights of `focal_weight * focal + dice_weight * dice`."""

    focal_weight: NonNegativeFloat = 100.0
    dice_weight: NonNegativeFloat = 1.0
    focal_alpha: Annotated[float, Field(ge=0.0, le=1.0)] = 0.25
    focal_gamma: NonNegativeFloat = 2.0


class ModelSettings(Settings):
    """A method: encoder tuning x level projection x aggregation x head."""

    clip: ClipSettings = ClipSettings()
    encoder: EncoderSettings = EncoderSettings()
    head: HeadSettings = HeadSettings()


class PicturebookSettings(Settings):
    """The drawn world; scenes are drawn while training, none is stored."""

    seed: Annotated[int, Field(ge=0, lt=10_000)] = 0
    """Seed of the training scenes; the other splits are drawn from seeds 10,000 apart."""
    size: PositiveInt = 128
    """Side of a scene in pixels."""
    eval_scenes: PositiveInt = 300
    """Scenes in the test split."""
    things: tuple[NonNegativeInt, NonNegativeInt] = (1, 3)
    """Fewest and most things in a scene."""
    thing_size: tuple[PositiveFloat, PositiveFloat] = (0.45, 0.82)
    """Smallest and largest longer side of a thing, as a share of the scene's side."""
    stuff: tuple[PositiveInt, PositiveInt] = (1, 3)
    """Fewest and most regions of stuff in a scene."""
    max_overlap: Annotated[float, Field(ge=0.0, le=1.0)] = 0.2
    """Largest share of a thing's box that another thing's box may cover."""


class DataSettings(Settings):
    """What to train and evaluate on."""

    name: Literal["picturebook", "folder"] = "picturebook"
    root: Path | None = None
    """Folder of the data set; none for the picture book."""
    split: str = "standard"
    """Name of the seen/unseen split of the data set's classes."""
    templates: Literal["single", "many"] = "single"
    """`single`: 'a photo of a {}'; `many`: the mean over the 15 of `clip.text`."""
    crop: PositiveInt = 512
    """Side of training crops and of sliding windows, in pixels."""
    stride: PositiveInt = 426
    """Step between sliding windows, in pixels."""
    short_side: PositiveInt = 512
    """Pictures are scaled to this short side for inference, in pixels."""
    mean: RGB = IMAGENET_MEAN
    std: RGB = IMAGENET_STD
    """Normalisation of RGB values in [0, 1]; the released code uses ImageNet's, not CLIP's."""
    picturebook: PicturebookSettings = PicturebookSettings()

    @model_validator(mode="after")
    def _check(self) -> DataSettings:
        if self.stride > self.crop:
            raise ValueError(
                f"stride ({self.stride}) is larger than crop ({self.crop}): pixels between "
                "windows would get no score"
            )
        if (self.name == "folder") != (self.root is not None):
            raise ValueError("data.root is needed for data.name 'folder', and only there")
        return self


class TrainSettings(Settings):
    """Optimisation. Defaults are the released schedule of VOC."""

    setting: Setting = "inductive"
    start_from: Path | None = None
    """Folder of a trained model to start from (transductive self-training starts from an
    inductive one)."""
    steps: PositiveInt = 20_000
    batch_size: PositiveInt = 16
    """Pictures per step over all devices."""
    lr: PositiveFloat = 2e-4
    min_lr: NonNegativeFloat = 1e-6
    power: PositiveFloat = 0.9
    warmup_steps: NonNegativeInt = 1500
    warmup_ratio: PositiveFloat = 1e-6
    weight_decay: NonNegativeFloat = 0.01
    precision: Literal["32", "bf16", "fp16"] = "32"
    accumulate: PositiveInt = 1
    """Forward passes per step; each takes an equal share of the batch."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: PositiveInt = 1
    workers: NonNegativeInt = 0
    """Processes that load data; 0 loads in the training process."""
    checkpoint_every: PositiveInt = 1000
    """Steps between checkpoints."""
    validate_every: NonNegativeInt = 1000
    """Steps between validations; 0 never validates."""
    validation_pictures: PositiveInt = 100
    """Pictures of the validation split that are looked at each time."""
    seed: NonNegativeInt = 0
    """Decides initial weights, batches, augmentation and dropout."""

    @model_validator(mode="after")
    def _check(self) -> TrainSettings:
        if self.batch_size % (self.accumulate * self.devices):
            raise ValueError(
                f"batch_size ({self.batch_size}), the pictures per step over all devices, must be "
                f"divisible by accumulate x devices ({self.accumulate} x {self.devices})"
            )
        return self


class Recipe(Settings):
    """Everything that decides a run."""

    name: str
    summary: str = ""
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    train: TrainSettings = TrainSettings()
    loss: LossSettings = LossSettings()
    seen_score_offset: NonNegativeFloat = 0.1
    """Subtracted from the scores of seen classes before arg-max: 0.1 as released in the inductive
    setting, 0 in the transductive and full ones."""
