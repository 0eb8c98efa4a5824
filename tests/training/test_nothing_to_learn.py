"""Batches without a single pixel to learn from give finite losses and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cascade_clip.clip.load import load_clip
from cascade_clip.config import LossSettings, Setting
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.drawn import PicturebookDataset
from cascade_clip.data.labels import IGNORE, UNLABELLED
from cascade_clip.data.samples import Batch, collate
from cascade_clip.losses.segmentation import SegmentationLoss
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.ops.images import normalise
from cascade_clip.training.module import TrainingModule, total
from tests.naive import losses as naive

LOSS = SegmentationLoss(LossSettings())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spread", [1.0, 1e4])
def test_the_loss_of_ignored_pictures_is_finite_and_their_negatives(
    dtype: torch.dtype, spread: float
) -> None:
    torch.manual_seed(0)
    logits = (spread * torch.randn(2, 5, 4, 4)).to(dtype).requires_grad_()
    labels = torch.full((2, 16, 16), IGNORE)
    terms = LOSS(logits, labels)
    terms.total.backward()
    assert terms.dice == 0
    assert torch.isfinite(terms.total)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad >= 0).all()  # every class is pushed down, none up
    focal, _ = naive.focal_and_dice(logits.detach().float(), labels, 0.25, 2)
    torch.testing.assert_close(terms.focal, 100 * focal, rtol=1e-4, atol=1e-4)


def test_an_ignored_picture_adds_no_class_to_a_batch() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 5, 4, 4)
    labels = torch.randint(0, 5, (2, 16, 16))
    labels[1] = IGNORE
    assert LOSS(logits, labels).dice == LOSS(logits[:1], labels[:1]).dice


@pytest.mark.parametrize("setting", ["inductive", "transductive", "full"])
@pytest.mark.parametrize("fill", ["ignore", "unlabelled", "unseen", "half"])
def test_a_step_without_a_seen_pixel_is_finite(
    tiny_overrides: list[str], setting: Setting, fill: str
) -> None:
    recipe = load_recipe(
        "cascade-clip/picturebook/inductive", [*tiny_overrides, f"train.setting={setting}"]
    )
    scenes = PicturebookDataset(recipe.data.picturebook, "train", 2)
    clip = load_clip(recipe.model.clip)
    torch.manual_seed(0)
    network = SegmentationNetwork(clip.visual, recipe.model)
    module = TrainingModule(
        network,
        recipe,
        scenes.classes,
        clip.text_encoder(scenes.classes.names),
        clip.normalisation,
    )
    loss, gradients = step(module, filled(collate([scenes[0], scenes[1]]), fill, module))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


def filled(batch: Batch, fill: str, module: TrainingModule) -> Batch:
    labels = batch.labels.clone()
    if fill == "half":
        labels[1] = IGNORE
    else:
        values = {"ignore": IGNORE, "unlabelled": UNLABELLED, "unseen": int(module.unseen[0])}
        labels[:] = values[fill]
    return Batch(batch.images, labels.to(torch.uint8))


def step(module: TrainingModule, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    images = normalise(batch.images, module.normalisation.mean, module.normalisation.std)
    loss = total(module.loss_terms(*module.predict_for_loss(images, batch.labels)))
    loss.backward()
    parameters = module.network.trained_parameters().values()
    return loss.detach(), [p.grad for p in parameters if p.grad is not None]
