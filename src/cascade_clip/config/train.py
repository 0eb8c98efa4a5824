"""Training: setting, schedule, devices, loss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    model_validator,
)

from cascade_clip.config.base import Count, CountOrNone, PositiveShare, Settings, Share

Setting = Literal["inductive", "transductive", "full"]


class TrainSettings(Settings):
    """Optimisation. Defaults are the released schedule of VOC."""

    setting: Setting = "inductive"
    """What training knows of unseen classes: `inductive`, nothing; `transductive`, their names and
    which pixels are of any of them, to label by itself; `full`, their masks."""
    start_from: Path | None = None
    """Folder of a trained model to start from, on the CLIP that it stands on: `model.clip` counts
    without it only. (Transductive self-training starts from an inductive one.)"""
    pseudo_labels: Literal["logits", "sigmoid"] = "logits"
    """By what `transductive` chooses among unseen classes: `logits`, or as in the released code
    their `sigmoid` in float32, where high logits are alike and the first of these classes wins."""
    steps: Count = 20_000
    """Optimizer steps of the whole run, at least 1."""
    batch_size: Annotated[int, Field(gt=0, le=65_536)] = 16
    """Pictures per step over all devices."""
    lr: PositiveFloat = 2e-4
    """Learning rate of AdamW at the start of the decay, above 0."""
    min_lr: NonNegativeFloat = 1e-6
    """Learning rate that the last step approaches, 0 to `lr`."""
    relationship_lr_factor: PositiveFloat = 1.0
    """Factor on `lr` for the weights of relationship prompts, above 0; RPN's released code: 0.1."""
    power: PositiveFloat = 0.9
    """Of the polynomial decay from `lr` to `min_lr`, above 0; 1 is a straight line."""
    warmup_steps: CountOrNone = 1500
    """Steps over which the rate rises linearly to that of the decay; 0: none."""
    warmup_ratio: PositiveShare = 1e-6
    """Share of the rate at which the rise starts, above 0, at most 1."""
    weight_decay: NonNegativeFloat = 0.01
    """AdamW's: the share of all trained weights that a step takes away, divided by the learning
    rate, from 0 on; 0: none."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the computation: `fp32`; mixed with it `bf16` or, on GPUs, `fp16`.
    On CPUs without instructions for it, `bf16` is refused, as slower."""
    compile: Literal["auto"] | bool = "auto"
    """Whether the network goes through `torch.compile`; `auto`: on a GPU with Triton."""
    checkpoint_activations: bool = False
    """Keeps less for the backward pass, which runs the image encoder's blocks again: a fraction of
    the memory, about a third more time."""
    accumulate: Count = 1
    """Forward passes per step; each takes an equal share of the batch. Loss and gradient are those
    of the whole batch; `transductive` predicts one more time, to count its pseudo-labels first."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train; `auto`: on GPUs if there are any."""
    devices: Count = 1
    """GPUs, or processes on the CPU, per node."""
    nodes: Count = 1
    """Machines that train together, each with `devices` GPUs."""
    workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Processes that load data, at most one for each core; 0 loads in the training process."""
    keep_model_at: tuple[Count, ...] = ()
    """Steps after which the model is written to `RUN/model-STEP`, too. Transductive training starts
    from an inductive model of half its steps."""
    checkpoint_every: Count = 1000
    """Steps between checkpoints."""
    validate_every: CountOrNone = 1000
    """Steps between validations; 0 never validates."""
    validation_pictures: Count = 100
    """Pictures of the validation part that are looked at each time."""
    sample_pictures: CountOrNone = 4
    """How many of these are drawn each time, with truth and prediction; 0 draws none."""
    sanity: bool = True
    """Checks data, classes and leaks before the first step."""
    wandb: str | None = None
    """Project in Weights & Biases to log to as well; needs the package wandb."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
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
        if self.relationship_lr_factor * self.lr < self.min_lr <= self.lr:
            raise ValueError(
                f"min_lr ({self.min_lr:g}), to which the rate falls, is above lr x "
                f"relationship_lr_factor ({self.lr:g} x {self.relationship_lr_factor:g}); lower it"
            )
        if self.min_lr > self.lr:
            raise ValueError(
                f"min_lr ({self.min_lr:g}), to which the rate falls, is above lr ({self.lr:g}); "
                "set it to at most lr"
            )
        return self


class LossSettings(Settings):
    """Weights of `focal_weight * focal + dice_weight * dice + ssim_weight * ssim`."""

    focal_weight: NonNegativeFloat = 100.0
    """Sigmoid focal loss, from 0 on; 0 leaves it out."""
    dice_weight: NonNegativeFloat = 1.0
    """Dice loss, from 0 on; 0 leaves it out."""
    ssim_weight: NonNegativeFloat = 0.0
    """Structural similarity, the third term of SPT-SEG (arXiv 2312.12754); 0 for all others."""
    focal_alpha: Share = 0.25
    """Weight of a class's own pixels in the focal loss, 0 to 1; all others have the rest of 1."""
    focal_gamma: NonNegativeFloat = 2.0
    """How much less pixels count that are nearly right (an exponent), from 0 on; 0: no less."""
