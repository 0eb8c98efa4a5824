"""Small models of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cascade_clip.checkpoint.folder import Bundle
from cascade_clip.class_names import parse_classes
from cascade_clip.clip.load import load_clip
from cascade_clip.clip.templates import TEMPLATES
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.export.write import export_model
from cascade_clip.model.network import SegmentationNetwork
from tests.conftest import TINY_OVERRIDES

CLASSES = ClassSet(("cat", "house", "grass", "sky", "boat"), ("cat", "boat"))

VARIANTS: dict[str, list[str]] = {
    "cascade": [],
    "single": ["model.head.stages=[[3]]"],
    "fusion": ["model.head.stages=[[1,2,3]]"],
    "self-attention": ["model.head.stages=[[1,2,3]]", "model.head.aggregation=self-attention"],
    "concat": ["model.head.aggregation=concat", "model.head.shared_queries=true"],
    "plain queries": ["model.head.relationship_descriptor=false"],
    "stored grid": ["model.encoder.stored_grid=6", "model.encoder.class_embedding_twice=true"],
    "shallow": ["model.encoder.tuning=shallow-prompts"],
    "frozen": ["model.encoder.tuning=frozen", "model.encoder.prompts=0"],
    "spectral prompts": ["model.encoder.tuning=spectral-prompts"],
    "spectral, stored grid": [
        "model.encoder.tuning=spectral-prompts",
        "model.encoder.stored_grid=5",
    ],
    "spectral decoder": ["model.head.kind=spectral"],
    "everything": [
        "model.encoder.tuning=spectral-prompts",
        "model.encoder.stored_grid=5",
        "model.encoder.class_embedding_twice=true",
        "model.head.aggregation=self-attention",
    ],
    "spt": [
        "model.encoder.tuning=spectral-prompts",
        "model.head.kind=spectral",
        "model.head.stages=[[3]]",
    ],
}


@pytest.fixture(scope="session")
def onnx_model(
    bundle_of: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bundle, Path]:
    """A model, and its ONNX file with free classes."""
    bundle = bundle_of(*VARIANTS["everything"])
    file = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_model(bundle, file)
    return bundle, file


@pytest.fixture(scope="session")
def fixed_onnx_model(
    bundle_of: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Bundle, Path]:
    """A model, and its ONNX file with fixed classes."""
    bundle = bundle_of(*VARIANTS["spt"])
    file = tmp_path_factory.mktemp("onnx") / "fixed.onnx"
    export_model(bundle, file, classes=parse_classes("cat, grass|lawn, houses"))
    return bundle, file


@pytest.fixture(scope="session")
def bundle_of(clip_of_3_blocks: Path) -> Callable[..., Bundle]:
    """A model with random weights, all of which matter: `bundle_of(*overrides)`."""

    def build(*overrides: str) -> Bundle:
        torch.manual_seed(1)
        recipe = load_recipe(
            "cascade-clip/picturebook/inductive",
            [
                f"model.clip.model=local-dir:{clip_of_3_blocks}",
                *TINY_OVERRIDES,
                "model.head.stages=[[1,2],[3]]",
                "model.head.decoder_layers=2",
                "inference.seen_score_offset=0.1",
                *overrides,
            ],
        )
        clip = load_clip(recipe.model.clip)
        network = SegmentationNetwork(clip.visual, recipe.model).eval()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if not name.startswith("encoder.visual."):
                    parameter += 0.05 * torch.randn_like(parameter)
        templates = TEMPLATES[recipe.data.templates]
        return Bundle(network, clip, recipe, CLASSES, templates, {"val_hiou": 0.5})

    return build
