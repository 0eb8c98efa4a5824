"""Training on seen masks must teach something that carries over to classes without masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cascade_clip.checkpoint.folder import Bundle, load_bundle
from cascade_clip.checkpoint.save import save_model
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.factory import open_dataset
from cascade_clip.evaluation.evaluate import evaluate
from cascade_clip.evaluation.metrics import Metrics
from cascade_clip.evaluation.raw_clip import RawClip, raw_clip_recipe
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.training.run import train

SMALL = [
    "data.picturebook.size=96",
    "inference.crop=96",
    "inference.short_side=96",
    "inference.shifts=1",
    "train.warmup_steps=10",
    "train.accelerator=cpu",
    "train.validate_every=0",
]
"""Scenes at the embedded CLIP's own size, where a step is cheap."""

SCENES = 30
CHANCE = 1 / 22


def measure(bundle: Bundle, exchanged: bool = False) -> Metrics:
    dataset = open_dataset(bundle.recipe.data, "test", SCENES)
    text = bundle.clip.text_encoder(bundle.classes.names, bundle.templates)
    if exchanged:
        unseen = list(bundle.classes.unseen_indices)
        text[unseen] = text[[*unseen[1:], unseen[0]]]
    return evaluate(bundle.network, dataset, text, bundle.recipe, bundle.normalisation)


@pytest.fixture(scope="module")
def embedded() -> Bundle:
    return load_bundle("picturebook")


@pytest.fixture(scope="module")
def start(embedded: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model at CLIP's similarity, but for a bias by which nearly everything is a cat."""
    recipe = load_recipe("cascade-clip/picturebook/inductive", SMALL)
    torch.manual_seed(0)
    network = SegmentationNetwork(embedded.clip.visual, recipe.model)
    text = embedded.clip.text_encoder(embedded.classes.names, embedded.templates)
    cat = text[embedded.classes.names.index("cat")] - text.mean(dim=0)
    decoders: Any = network.head.decoders
    with torch.no_grad():
        for decoder in decoders:
            decoder.scores.key.bias += 5 * cat / cat.norm()
    folder = tmp_path_factory.mktemp("start") / "model"
    return save_model(folder, network, recipe, embedded.classes, embedded.clip)


@pytest.fixture(scope="module")
def trained(start: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    settings = [*SMALL, "train.steps=60", f"train.start_from={start}"]
    recipe = load_recipe("cascade-clip/picturebook/inductive", settings)
    return load_bundle(train(recipe, tmp_path_factory.mktemp("run") / "run", quiet=True).folder)


def test_a_short_training_segments_seen_and_unseen_classes(start: Path, trained: Bundle) -> None:
    before, after = measure(load_bundle(start)), measure(trained)
    assert max(before.miou_seen, before.miou_unseen) < CHANCE
    assert min(after.miou_seen, after.miou_unseen) > 4 * CHANCE


def test_the_embedded_model_beats_clip_without_masks(embedded: Bundle) -> None:
    dataset = open_dataset(embedded.recipe.data, "test", SCENES)
    text = embedded.clip.text_encoder(embedded.classes.names, embedded.templates)
    recipe = raw_clip_recipe(embedded.recipe)
    network = RawClip(embedded.clip.visual)
    raw = evaluate(network, dataset, text, recipe, embedded.clip.normalisation)
    ours = measure(embedded)
    assert max(raw.miou_seen, raw.miou_unseen) < 0.15  # CLIP's own weakness
    assert ours.miou_seen > raw.miou_seen + 0.4
    assert ours.miou_unseen > raw.miou_unseen + 0.2


def test_exchanged_names_ruin_the_unseen_classes_and_only_them(embedded: Bundle) -> None:
    right, wrong = measure(embedded), measure(embedded, exchanged=True)
    assert wrong.miou_unseen < 0.1
    assert wrong.miou_seen > right.miou_seen - 0.1


def test_the_embedded_adapter_fits_the_embedded_clip(embedded: Bundle) -> None:
    assert embedded.clip_fingerprint == embedded.clip.fingerprint
    folder = Path(__file__).parents[2] / "src/cascade_clip"
    assert sum(p.stat().st_size for p in folder.rglob("*.safetensors")) < 12e6
