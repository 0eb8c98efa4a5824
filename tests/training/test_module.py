"""What a training step may and may not see."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from cascade_clip.clip.load import load_clip
from cascade_clip.config import Recipe
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.drawn import PicturebookDataset
from cascade_clip.data.samples import Batch, collate
from cascade_clip.errors import UserError
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.ops.images import normalise
from cascade_clip.training.module import TrainingModule, total


def build(overrides: list[str], setting: str, classes: ClassSet | None = None) -> TrainingModule:
    recipe = load_recipe(
        "cascade-clip/picturebook/inductive", [*overrides, f"train.setting={setting}"]
    )
    classes = classes or scenes(recipe).classes
    clip = load_clip(recipe.model.clip)
    torch.manual_seed(0)
    network = SegmentationNetwork(clip.visual, recipe.model)
    text = clip.text_encoder(classes.names)
    return TrainingModule(network, recipe, classes, text, clip.normalisation)


def scenes(recipe: Recipe) -> PicturebookDataset:
    return PicturebookDataset(recipe.data.picturebook, "train", 8)


def batch_of(module: TrainingModule) -> Batch:
    dataset = scenes(module.recipe)
    batch = collate([dataset[index] for index in range(8)])
    assert torch.isin(batch.labels, module.unseen).any()
    return batch


def gradients(module: TrainingModule, batch: Batch) -> dict[str, Tensor]:
    """The gradient of every trained parameter after one step without dropout."""
    module.network.eval()
    module.zero_grad()
    images = normalise(batch.images, module.normalisation.mean, module.normalisation.std)
    total(module.loss_terms(*module.predict_for_loss(images, batch.labels))).backward()
    return {
        name: p.grad.clone()
        for name, p in module.network.trained_parameters().items()
        if p.grad is not None
    }


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def scrambled(module: TrainingModule, batch: Batch) -> Batch:
    """Unseen labels replaced by other unseen ones."""
    labels = batch.labels.clone()
    for now, then in zip(module.unseen, module.unseen.roll(1), strict=True):
        labels[batch.labels == now] = then
    assert not torch.equal(labels, batch.labels)
    return Batch(batch.images, labels)


@pytest.mark.parametrize(
    ("setting", "leaks"), [("inductive", False), ("transductive", False), ("full", True)]
)
def test_only_full_supervision_knows_which_unseen_class_a_pixel_has(
    tiny_overrides: list[str], setting: str, leaks: bool
) -> None:
    module = build(tiny_overrides, setting)
    batch = batch_of(module)
    expected = gradients(module, batch)
    assert equal(expected, gradients(module, batch))
    assert equal(expected, gradients(module, scrambled(module, batch))) is not leaks


def test_inductive_training_never_reads_an_unseen_name(tiny_overrides: list[str]) -> None:
    module = build(tiny_overrides, "inductive")
    batch = batch_of(module)
    expected = gradients(module, batch)
    module.text_embeddings[module.unseen] = math.nan
    assert equal(expected, gradients(module, batch))


def test_transductive_training_reads_unseen_names(tiny_overrides: list[str]) -> None:
    module = build(tiny_overrides, "transductive")
    batch = batch_of(module)
    expected = gradients(module, batch)
    module.text_embeddings[module.unseen] = module.text_embeddings[module.unseen.roll(1)]
    assert not equal(expected, gradients(module, batch))


def test_transductive_without_unseen_classes_is_refused(tiny_overrides: list[str]) -> None:
    with pytest.raises(UserError, match="none is unseen"):
        build(tiny_overrides, "transductive", ClassSet(("cat", "grass")))


def test_state_is_the_adapter_alone(tiny_overrides: list[str]) -> None:
    module = build(tiny_overrides, "inductive")
    state = module.state_dict()
    assert state.keys() == module.network.adapter_state_dict().keys()
    assert not any("visual" in name for name in state)
    other = build(tiny_overrides, "inductive")
    with torch.no_grad():
        for parameter in other.network.trained_parameters().values():
            parameter.add_(1.0)
    other.load_state_dict(state)
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())


def test_validation_sees_the_weights_of_now(tiny_overrides: list[str]) -> None:
    module = build(tiny_overrides, "inductive")
    network, text = module.network, module.text_embeddings
    images = torch.rand(1, 3, 32, 32)
    optimizer = torch.optim.AdamW(network.trained_parameters().values(), lr=0.1, fused=True)

    def validate() -> Tensor:
        network.eval()
        with torch.no_grad():
            logits: Tensor = network(images, text).mask_logits
        for part in network.modules():  # as Lightning does it, without calling train()
            part.training = True
        return logits

    before = validate()
    network(images, text).mask_logits.sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    after = validate()
    assert not torch.equal(after, before)
    assert torch.equal(after, copy.deepcopy(network).eval()(images, text).mask_logits)
