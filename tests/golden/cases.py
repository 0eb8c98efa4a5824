"""Golden cases: a released checkpoint and what the released code made of it.

Each is a pair of files of one name, `.pth` and `.safetensors`. Tried are all that lie in `data` or
in the folder that the environment variable `CASCADE_CLIP_GOLDEN` names, and cases of other sizes
that are made here (`synthetic.py`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from cascade_clip.checkpoint.released.classes import Overrides
from cascade_clip.checkpoint.released.load import ReleasedModel, build_released, convert_released
from cascade_clip.model.network import SegmentationNetwork
from tests.golden.synthetic import SYNTHETIC, synthetic
from tests.naive.network import NaiveOutput, NaiveSizes, naive_forward

DATA = Path(__file__).parent / "data"
SETTINGS = ("inductive", "transductive")
SEEN_SCORE_OFFSET = {"inductive": 0.1, "transductive": 0.0}


def cases_in(folder: Path, *methods: str) -> dict[str, Path]:
    """Name -> checkpoint of the golden cases of some methods in a folder: `METHOD_CASE.pth`."""
    files = sorted(folder.glob("*.pth"))
    return {path.stem: path for path in files if path.stem.split("_")[0] in methods}


def cases_of(*methods: str) -> dict[str, Path]:
    """Those in `data`, and in the folder that the environment variable names."""
    other = os.environ.get("CASCADE_CLIP_GOLDEN")
    return cases_in(DATA, *methods) | (cases_in(Path(other), *methods) if other else {})


ZEG = ("zeg", "cascade")
FILES = cases_of(*ZEG)
CASES = (*FILES, *SYNTHETIC)
STEPS = [(case, setting) for case in FILES for setting in SETTINGS] + [
    (case, setting)
    for case, sizes in SYNTHETIC.items()
    for setting in (SETTINGS if sizes.unseen else SETTINGS[:1])
]
"""Cases with the settings in which they were trained; without unseen classes there is but one."""


@dataclass(frozen=True)
class Golden:
    """One released checkpoint with its reference numbers."""

    values: dict[str, Tensor]
    state: Mapping[str, Tensor]
    """The released `state_dict`."""
    model: ReleasedModel

    def network(self) -> SegmentationNetwork:
        return build_released(self.model)[1]

    @property
    def sizes(self) -> NaiveSizes:
        vision = self.model.vision
        side = vision["image_size"] // vision["patch_size"]
        return NaiveSizes(vision["width"] // vision["head_width"], (side, side), quick_gelu=True)

    def naive(self, image: Tensor, text: Tensor, state: dict[str, Tensor]) -> NaiveOutput:
        return naive_forward(state, self.model.settings, self.sizes, image, text)

    @property
    def seen(self) -> Tensor:
        return torch.tensor(self.model.classes.seen)

    @property
    def unseen(self) -> Tensor:
        return torch.tensor(self.model.classes.unseen)

    @property
    def image_size(self) -> tuple[int, int]:
        """To which the released code upsamples mask logits: its training size."""
        height, width = self.values["mask_logits"].shape[2:]
        return height, width


@cache
def golden(case: str) -> Golden:
    if case in SYNTHETIC:
        return golden_from(*synthetic(SYNTHETIC[case]))
    return golden_file(FILES[case])


def golden_file(checkpoint: Path) -> Golden:
    """The case of a `.pth`, whose numbers lie beside it."""
    content = torch.load(checkpoint, weights_only=True)
    values = load_file(checkpoint.with_suffix(".safetensors"))
    golden = golden_from(values, content["state_dict"], content["meta"])
    if checkpoint.stem.split("_")[0] in ZEG:
        for setting, offset in SEEN_SCORE_OFFSET.items():  # not stored: the logits tell them
            scores = values["mask_logits"].sigmoid()
            scores[:, golden.seen] -= offset
            values.setdefault(f"{setting}.scores", scores)
    return golden


def golden_from(
    values: dict[str, Tensor], state: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> Golden:
    return Golden(values, state, convert_released(state, meta, Overrides()))
