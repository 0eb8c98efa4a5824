"""Every setting of the toolkit, typed and documented.

A `Recipe` is read once (from a YAML delta plus `key=value` overrides, see `recipes.py`), checked
here, and handed on unchanged; nothing downstream has settings of its own. Block numbers are
1-based, as in the Cascade-CLIP paper (arXiv 2406.00670): block 12 is the last one of a ViT-B.
"""

from __future__ import annotations

import math
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
    field_validator,
    model_validator,
)

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
RGB = tuple[float, float, float]
Setting = Literal["inductive", "transductive", "full"]
CropRule = Literal["visible", "released", "off"]
PreparedName = Literal["voc20", "context59", "coco-stuff"]

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
    """Weights of `focal_weight * focal + dice_weight * dice + ssim_weight * ssim`."""

    focal_weight: NonNegativeFloat = 100.0
    dice_weight: NonNegativeFloat = 1.0
    ssim_weight: NonNegativeFloat = 0.0
    """Structural similarity, the third term of SPT-SEG (arXiv 2312.12754); 0 for all others."""
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


class AugmentSettings(Settings):
    """Random changes to training pictures: size, crop, mirroring, colours.

    Defaults are the released augmentation of ZegCLIP and Cascade-CLIP. Without settings of its own
    the picture book has `NO_AUGMENTATION`, since none of its scenes is ever drawn twice.
    """

    scale: tuple[PositiveFloat, PositiveFloat] = (0.5, 2.0)
    """Smallest and largest factor on `data.short_side` and `long_side`; drawn evenly."""
    long_side: PositiveInt = 2048
    """Pictures are scaled to a short side of `data.short_side`, or less where the long side would
    become longer than this, in pixels (both before the factor)."""
    crop_rule: CropRule = "visible"
    """Crops are drawn again, up to 10 times, until they hold two classes or more and none fills 75%
    of the labelled pixels. `visible`: only labels that training may see count; `released`: all do,
    unseen classes included, as in the released code; `off`: the first crop is taken."""
    flip: Probability = 0.5
    """Probability of mirroring left and right."""
    photometric: bool = True
    """Brightness, contrast, saturation and hue, each changed in half of the pictures."""

    @field_validator("crop_rule", mode="before")
    @classmethod
    def _off_as_yaml_reads_it(cls, value: Any) -> Any:
        return "off" if value is False else value

    @model_validator(mode="after")
    def _check(self) -> AugmentSettings:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale is (smallest, largest) factor, got {list(self.scale)}")
        return self


NO_AUGMENTATION = AugmentSettings(scale=(1.0, 1.0), crop_rule="off", flip=0.0, photometric=False)


class DataSettings(Settings):
    """What to train and evaluate on."""

    name: Literal["picturebook", "folder", PreparedName] = "picturebook"
    """`picturebook`; `folder`, one's own pictures; or what `cascade-clip prepare` has prepared."""
    root: Path | None = None
    """Folder of the data set; none for the picture book."""
    split: str = "standard"
    """Name of the seen/unseen split of the data set's classes."""
    synonyms: bool = False
    """Prompts say `potted plant` instead of the label's name `pottedplant`, where the class list
    has such synonyms. The papers' prompts use the labels' names."""
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
    augment: AugmentSettings = AugmentSettings()
    picturebook: PicturebookSettings = PicturebookSettings()

    @model_validator(mode="before")
    @classmethod
    def _scenes_are_not_augmented(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("name", "picturebook") != "picturebook":
            return values
        augment = values.get("augment", {})
        if isinstance(augment, dict):
            augment = {**NO_AUGMENTATION.model_dump(), **augment}
        return {**values, "augment": augment}

    @model_validator(mode="after")
    def _check(self) -> DataSettings:
        if self.stride > self.crop:
            raise ValueError(
                f"stride ({self.stride}) is larger than crop ({self.crop}): pixels between "
                "windows would get no score"
            )
        if self.name == "folder" and self.root is None:
            raise ValueError("data.name 'folder' needs data.root, the folder of the data set")
        if self.name == "picturebook" and self.root is not None:
            raise ValueError(
                "the picture book is drawn and has no data.root; for a data set set data.name, too"
            )
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
    compile: Literal["auto"] | bool = "auto"
    """Whether the network goes through `torch.compile`; `auto`: on a GPU with Triton."""
    checkpoint_activations: bool = False
    """Keeps less for the backward pass, which runs the image encoder's blocks again: a fraction of
    the memory, about a third more time."""
    accumulate: PositiveInt = 1
    """Forward passes per step; each takes an equal share of the batch."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: PositiveInt = 1
    """GPUs, or processes on the CPU, per node."""
    nodes: PositiveInt = 1
    """Machines that train together, each with `devices` GPUs."""
    workers: NonNegativeInt = 0
    """Processes that load data; 0 loads in the training process."""
    keep_model_at: tuple[PositiveInt, ...] = ()
    """Steps after which the model is written to `RUN/model-STEP`, too. Transductive training starts
    from an inductive model of half its steps."""
    checkpoint_every: PositiveInt = 1000
    """Steps between checkpoints."""
    validate_every: NonNegativeInt = 1000
    """Steps between validations; 0 never validates."""
    validation_pictures: PositiveInt = 100
    """Pictures of the validation split that are looked at each time."""
    sample_pictures: NonNegativeInt = 4
    """Of these, so many are drawn with truth and prediction each time; 0 draws none."""
    sanity: bool = True
    """Checks data, classes and leaks before the first step."""
    wandb: str | None = None
    """Project in Weights & Biases to log to as well; needs the package wandb."""
    seed: NonNegativeInt = 0
    """Decides initial weights, batches, augmentation and dropout."""

    @model_validator(mode="after")
    def _check(self) -> TrainSettings:
        parts = (self.accumulate, self.devices, self.nodes)
        if self.batch_size % math.prod(parts):
            raise ValueError(
                f"batch_size ({self.batch_size}), the pictures per step over all devices, must be "
                "divisible by accumulate x devices x nodes "
                f"({self.accumulate} x {self.devices} x {self.nodes})"
            )
        return self


class Published(Settings):
    """What a paper reports for a recipe: mIoU in percent over a data set's validation pictures."""

    seen: Annotated[float, Field(ge=0.0, le=100.0)]
    unseen: Annotated[float, Field(ge=0.0, le=100.0)]
    source: str
    """Who reports it."""

    @property
    def hiou(self) -> float:
        """Harmonic mean of `seen` and `unseen`."""
        total = self.seen + self.unseen
        return 2 * self.seen * self.unseen / total if total else 0.0


class Recipe(Settings):
    """Everything that decides a run."""

    name: str
    summary: str = ""
    published: Published | None = None
    """Not inherited from a recipe's `base`."""
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    train: TrainSettings = TrainSettings()
    loss: LossSettings = LossSettings()
    seen_score_offset: NonNegativeFloat = 0.1
    """Subtracted from the scores of seen classes before arg-max: 0.1 as released in the inductive
    setting, 0 in the transductive and full ones."""
