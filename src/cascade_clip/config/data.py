"""Data sets and what is done to their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from cascade_clip.config.base import Count, Pixels, PositiveShare, Probability, Settings, Share

RGB = tuple[float, float, float]
CropRule = Literal["visible", "released", "off"]
NearestRule = Literal["exact", "opencv"]
Background = Literal["ignore", "class"]
Templates = Literal["single", "many", "imagenet", "otseg-6", "otseg-8"]
"""The keys of `clip.templates.TEMPLATES`."""
Factor = Annotated[float, Field(gt=0.0, le=16.0)]
ThingSize = Annotated[float, Field(gt=0.0, le=2.0)]
Few = Annotated[int, Field(ge=0, le=100)]
FewOrOne = Annotated[int, Field(gt=0, le=100)]
PreparedName = Literal[
    "voc20", "context59", "coco-stuff", "voc21", "context60", "coco-object", "cityscapes",
    "ade20k", "ade847", "context459",
]  # fmt: skip


class Normalisation(Settings):
    """What becomes of RGB values in [0, 1]."""

    mean: tuple[Share, Share, Share]
    """Subtracted."""
    std: tuple[PositiveShare, PositiveShare, PositiveShare]
    """What they are divided by afterwards."""


IMAGENET = Normalisation(
    mean=(123.675 / 255, 116.28 / 255, 103.53 / 255), std=(58.395 / 255, 57.12 / 255, 57.375 / 255)
)


class PicturebookSettings(Settings):
    """The drawn world; scenes are drawn while training, none is stored."""

    seed: Annotated[int, Field(ge=0, lt=10_000)] = 0
    """Seed of the training scenes; the other parts have seeds 10,000 apart."""
    size: Annotated[int, Field(gt=0, le=4096)] = 128
    """Side of a scene in pixels."""
    eval_scenes: Count = 300
    """Scenes in the test part."""
    things: tuple[Few, Few] = (1, 3)
    """Fewest and most things in a scene."""
    thing_size: tuple[ThingSize, ThingSize] = (0.45, 0.82)
    """Smallest and largest longer side of a thing, as a share of the scene's side."""
    stuff: tuple[FewOrOne, FewOrOne] = (1, 3)
    """Fewest and most regions of stuff in a scene."""
    max_overlap: Share = 0.2
    """Largest share of a thing's box that another thing's box may cover."""


class AugmentSettings(Settings):
    """Random changes to training pictures: size, crop, mirroring, colours.

    Defaults are the released augmentation of ZegCLIP and Cascade-CLIP. Without settings of its own
    the picture book has `NO_AUGMENTATION`, since none of its scenes is ever drawn twice.
    """

    scale: tuple[Factor, Factor] = (0.5, 2.0)
    """Smallest and largest factor on `inference.short_side` and `long_side`; drawn evenly."""
    long_side: Pixels = 2048
    """Pictures are scaled to a short side of `inference.short_side`, or less where the long side
    would become longer than this, in pixels (both before the factor)."""
    crop_rule: CropRule = "visible"
    """Crops are drawn again, up to 10 times, until they hold two classes or more and none fills 75%
    of the labelled pixels. `visible`: only labels that training may see count; `released`: all do,
    unseen classes included, as in the released code; `off`: the first crop is taken."""
    nearest_rule: NearestRule = "exact"
    """Which label pixel x of a side takes that goes from `old` to `new` pixels: number
    floor(x * old / new), `exact` or as `opencv` computes it, in float64, by
    floor(x * (1 / (new / old))). The released code uses OpenCV. They differ by one label in a few
    rows and columns of some sizes."""
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
    background: Background | None = None
    """For `folder`, where the masks hold 0 for the background and 1 for the first name: `ignore`
    it, or take it for a `class` of its own, `background`, before all others. null: 0 is the first
    name."""
    split: str = "standard"
    """Name of the seen/unseen split of the data set's classes."""
    synonyms: bool = False
    """Prompts say `potted plant` instead of the label's name `pottedplant`, where the class list
    has such synonyms. The papers' prompts use the labels' names."""
    names: str = "label"
    """Whose names methods without training ask for: `label`, those of the labels, or a list of the
    data's `vocabularies`: `sclip` (also of NACLIP, ResCLIP and SC-CLIP) or `clearclip`."""
    templates: Templates = "single"
    """`single`: 'a photo of a {}'; `many`: the 15 of COCO-Stuff; `imagenet`: the 80 of CLIP's
    paper, as for training-free methods; `otseg-6`, `otseg-8`: those of OTSeg on VOC and elsewhere.
    Their texts are in `clip/templates.py`."""
    average_templates: bool = True
    """Whether a class has one text embedding, the mean over the templates; else each template is a
    prompt of its own, for methods that take several, such as OTSeg."""
    normalise: Literal["imagenet", "clip"] = "imagenet"
    """By whose mean and deviation of RGB values pictures are normalised: ImageNet's, as in the
    released code, or those of the CLIP."""
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
        if self.name == "picturebook" and self.root is not None:
            raise ValueError(
                "the picture book is drawn and has no data.root; for a data set set data.name, too"
            )
        if self.background is not None and self.name != "folder":
            raise ValueError("data.background is for data.name 'folder', one's own masks")
        return self

    def normalisation(self, clip: Normalisation) -> Normalisation:
        """That of pictures; `clip` is the CLIP's own."""
        return clip if self.normalise == "clip" else IMAGENET
