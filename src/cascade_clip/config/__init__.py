"""Every setting of the toolkit, typed and documented: `model.py`, `heads.py`, `data.py`,
`train.py` and `inference.py`.

A `Recipe` is read once (from a YAML delta plus `key=value` overrides, see `recipes.py`), checked
here, and handed on unchanged; nothing downstream has settings of its own. Block numbers are
1-based, as in the Cascade-CLIP paper (arXiv 2406.00670): block 12 is the last one of a ViT-B.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, Literal

from pydantic import model_validator

from cascade_clip.config.base import Settings
from cascade_clip.config.data import (
    IMAGENET,
    NO_AUGMENTATION,
    RGB,
    AugmentSettings,
    Background,
    CropRule,
    DataSettings,
    NearestRule,
    Normalisation,
    PicturebookSettings,
    PreparedName,
    Templates,
)
from cascade_clip.config.heads import HeadSettings
from cascade_clip.config.inference import InferenceSettings
from cascade_clip.config.model import ClipSettings, EncoderSettings, ModelSettings
from cascade_clip.config.train import LossSettings, Setting, TrainSettings

__all__ = [
    "IMAGENET",
    "NO_AUGMENTATION",
    "RGB",
    "AugmentSettings",
    "Background",
    "ClipSettings",
    "CropRule",
    "DataSettings",
    "EncoderSettings",
    "HeadSettings",
    "InferenceSettings",
    "LossSettings",
    "ModelSettings",
    "NearestRule",
    "Normalisation",
    "PicturebookSettings",
    "PreparedName",
    "Recipe",
    "Setting",
    "Settings",
    "Templates",
    "TrainSettings",
]


RELEASED: Mapping[str, Any] = {
    "data.augment.crop_rule": "released",
    "data.augment.nearest_rule": "opencv",
    "model.float16_text": True,
    "train.pseudo_labels": "sigmoid",
}
"""What `fidelity: released` sets."""


class Recipe(Settings):
    """Everything that decides a run."""

    name: str
    """What the run's folder and the tables call it; of a file without one, its file name."""
    summary: str = ""
    """One line about it."""
    fidelity: Literal["own", "released"] = "own"
    """`released`: `data.augment.crop_rule` is `released`, `data.augment.nearest_rule` `opencv`,
    `model.float16_text` true and `train.pseudo_labels` `sigmoid`, as in the released code of
    ZegCLIP and Cascade-CLIP; giving one of them another value is an error. `own`: each as it is
    given. All other behaviour of the released code is in the recipes of its methods."""
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    train: TrainSettings = TrainSettings()
    loss: LossSettings = LossSettings()
    inference: InferenceSettings = InferenceSettings()

    @property
    def file_name(self) -> str:
        """The name as that of a file."""
        return self.name.replace("/", "-")

    @model_validator(mode="before")
    @classmethod
    def _fill_in_released(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("fidelity") == "released":
            for key, value in RELEASED.items():
                values = _with_default(values, key.split("."), value)
        return values

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if self.fidelity == "released":
            for key, value in RELEASED.items():
                given = attrgetter(key)(self)
                if given != value:
                    raise ValueError(
                        f"fidelity 'released' means {key} {value}, but it is given as {given}; "
                        "leave it out, or leave fidelity out and set the others by themselves"
                    )
        encoder = self.model.encoder
        if self.inference.token_merging and not encoder.mergeable:
            what = "regions" if encoder.regions is not None else encoder.tuning
            raise ValueError(
                f"inference.token_merging can't be had with {what}, which need all patches; set it "
                "to 0"
            )
        return self


def _with_default(values: Any, path: list[str], value: Any) -> Any:
    """Nested dictionaries with `value` at `path`, unless one is there."""
    if not path:
        return value
    if not isinstance(values, dict):  # no group of settings, or one already read
        return values
    key, *rest = path
    if not rest and key in values:
        return values
    return {**values, key: _with_default(values.get(key, {}), rest, value)}
