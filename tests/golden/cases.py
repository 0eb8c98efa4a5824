"""The golden files: a released checkpoint and what the released code made of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from cascade_clip.checkpoint.official import ReleasedModel, build_released, load_released
from cascade_clip.model.network import SegmentationNetwork
from tests.naive.network import NaiveOutput, NaiveSizes, naive_forward

DATA = Path(__file__).parent / "data"
CASES = ("cascade", "zeg")
SETTINGS = ("inductive", "transductive")


@dataclass(frozen=True)
class Golden:
    """One released checkpoint with its reference numbers."""

    values: dict[str, Tensor]
    model: ReleasedModel

    def network(self) -> SegmentationNetwork:
        return build_released(self.model)[1]

    def naive(self, image: Tensor, text: Tensor, state: dict[str, Tensor]) -> NaiveOutput:
        vision = self.model.vision
        side = vision["image_size"] // vision["patch_size"]
        sizes = NaiveSizes(vision["width"] // vision["head_width"], (side, side), quick_gelu=True)
        return naive_forward(state, self.model.settings, sizes, image, text)

    @property
    def seen(self) -> Tensor:
        return torch.tensor(self.model.classes.seen)

    @property
    def unseen(self) -> Tensor:
        return torch.tensor(self.model.classes.unseen)


@cache
def golden(case: str) -> Golden:
    values = load_file(DATA / f"{case}_small.safetensors")
    return Golden(values, load_released(DATA / f"{case}_small.pth"))
