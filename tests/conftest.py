"""What tests share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from cascade_clip.clip.build import build_clip
from cascade_clip.clip.load import WEIGHTS_FILE
from cascade_clip.clip.source import CONFIG_FILE
from cascade_clip.clip.text_store import CACHE_VARIABLE

os.environ[CACHE_VARIABLE] = ""  # nothing is kept from one run of the tests to the next
torch.set_num_threads(1)  # tensors here are so small that threads cost more than they give

TINY_CLIP: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"layers": 12, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
"""A CLIP of 12 blocks that runs in milliseconds."""

TINY_OVERRIDES = [
    "data.picturebook.size=32",
    "inference.crop=32",
    "inference.stride=32",
    "inference.short_side=32",
    "data.picturebook.eval_scenes=4",
    "train.batch_size=4",
    "train.warmup_steps=2",
    "train.validate_every=0",
    "train.accelerator=cpu",
]
"""Settings with which a training step on the tiny CLIP takes some 20 ms."""


def write_clip(folder: Path, seed: int, quick_gelu: bool = False, layers: int = 12) -> Path:
    """A CLIP with random weights in open_clip's folder layout, not said to be random."""
    torch.manual_seed(seed)
    vision = {**TINY_CLIP["vision_cfg"], "layers": layers}
    model_cfg = {**TINY_CLIP, "vision_cfg": vision, "quick_gelu": quick_gelu}
    clip = build_clip(TINY_CLIP["embed_dim"], vision, TINY_CLIP["text_cfg"], quick_gelu)
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess}
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    state = {name: value.contiguous() for name, value in clip.state_dict().items()}
    state["ln_final.bias"] = state["ln_final.bias"] + 1e-4  # as if it were trained
    save_file(state, folder / WEIGHTS_FILE)
    return folder


@pytest.fixture(scope="session")
def tiny_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP with random weights, for `model.clip.model=local-dir:PATH`."""
    return write_clip(tmp_path_factory.mktemp("clip"), seed=0)


@pytest.fixture(scope="session")
def clip_of_3_blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP whose image encoder has 3 blocks."""
    return write_clip(tmp_path_factory.mktemp("clip-3"), seed=0, layers=3)


@pytest.fixture(scope="session")
def tiny_overrides(tiny_clip_folder: Path) -> list[str]:
    """Overrides that put a picture-book recipe on the tiny CLIP and on small scenes."""
    return [f"model.clip.model=local-dir:{tiny_clip_folder}", *TINY_OVERRIDES]
