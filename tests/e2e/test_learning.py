"""Training on seen masks must teach something that carries over to classes without masks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cascade_clip.checkpoint.folder import Bundle, load_bundle
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.factory import open_dataset
from cascade_clip.evaluation.evaluate import evaluate
from cascade_clip.evaluation.metrics import Metrics
from cascade_clip.evaluation.raw_clip import RawClip, raw_clip_recipe
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.training.run import train

SMALL = [
    "data.picturebook.size=96",
    "data.crop=96",
    "data.short_side=96",
    "train.batch_size=4",
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
    return evaluate(bundle.network, dataset, text, bundle.recipe)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    recipe = load_recipe("picturebook-inductive", [*SMALL, "train.steps=30"])
    return load_bundle(train(recipe, tmp_path_factory.mktemp("run") / "run", quiet=True))


def untrained(trained: Bundle) -> Bundle:
    """The same network with a decoder that starts at random, as in the paper."""
    head = trained.recipe.model.head.model_copy(update={"decoder_start": "released"})
    model = trained.recipe.model.model_copy(update={"head": head})
    recipe = trained.recipe.model_copy(update={"model": model})
    torch.manual_seed(0)
    network = SegmentationNetwork(trained.clip.visual, model).eval()
    return Bundle(network, trained.clip, recipe, trained.classes, trained.templates)


def test_a_short_training_segments_seen_and_unseen_classes(trained: Bundle) -> None:
    before, after = measure(untrained(trained)), measure(trained)
    assert before.miou_unseen < 3 * CHANCE
    assert after.miou_unseen > 10 * CHANCE
    assert after.miou_seen > 10 * CHANCE
    assert after.miou_unseen > before.miou_unseen + 0.3


@pytest.fixture(scope="module")
def embedded() -> Bundle:
    return load_bundle("picturebook")


def test_the_embedded_model_beats_clip_without_masks(embedded: Bundle) -> None:
    dataset = open_dataset(embedded.recipe.data, "test", SCENES)
    text = embedded.clip.text_encoder(embedded.classes.names, embedded.templates)
    recipe = raw_clip_recipe(embedded.recipe, embedded.clip)
    raw = evaluate(RawClip(embedded.clip.visual), dataset, text, recipe)
    ours = measure(embedded)
    assert ours.miou_seen > raw.miou_seen + 0.02
    assert ours.miou_unseen > raw.miou_unseen
    assert ours.miou_unseen > 0.6
    assert ours.hiou > 0.6


def test_exchanged_names_ruin_the_unseen_classes_and_only_them(embedded: Bundle) -> None:
    right, wrong = measure(embedded), measure(embedded, exchanged=True)
    assert wrong.miou_unseen < 0.1
    assert wrong.miou_seen > right.miou_seen - 0.1


def test_the_embedded_adapter_fits_the_embedded_clip(embedded: Bundle) -> None:
    assert embedded.clip_fingerprint == embedded.clip.fingerprint
    folder = Path(__file__).parents[2] / "src/cascade_clip"
    assert sum(p.stat().st_size for p in folder.rglob("*.safetensors")) < 12e6
