"""A step in several parts teaches what the whole batch at once would, through the real loop."""

from __future__ import annotations

import copy
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from cascade_clip.clip.load import FrozenClip, load_clip
from cascade_clip.config import IMAGENET, Recipe
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.factory import open_dataset
from cascade_clip.data.samples import Batch
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.protocol import Output
from cascade_clip.training import trainer
from cascade_clip.training.loaders import PartsOfSteps, train_loader
from cascade_clip.training.module import TrainingModule
from cascade_clip.training.trainer import build_trainer, without_noise
from tests.naive import losses as naive

BATCH = 4
PICTURES = [f"train.batch_size={BATCH}", "data.picturebook.seed=19"]
"""They hold 4, 2, 2 and 0 seen classes, and 4, 4, 2 and 2 of all: no part has its share of n."""
NO_DROPOUT = ["model.encoder.prompt_dropout=0", "model.head.decoder_dropout=0"]
LOSSES = {
    "focal": ["loss.dice_weight=0"],
    "dice": ["loss.focal_weight=0", "loss.dice_weight=10"],
    "ssim": ["loss.focal_weight=0", "loss.dice_weight=0", "loss.ssim_weight=10"],
    "all": ["loss.ssim_weight=3"],
}

Gradients = dict[str, Tensor]


class Watch(Callback):
    """The loss that is logged at the first step, and the gradient that the optimizer gets."""

    def __init__(self) -> None:
        self.gradients: Gradients = {}
        self.loss = 0.0

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        assert isinstance(pl_module, TrainingModule)
        self.gradients = {
            name: p.grad.clone()
            for name, p in pl_module.network.trained_parameters().items()
            if p.grad is not None
        }

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        if "loss" in trainer.logged_metrics:
            self.loss = float(trainer.logged_metrics["loss"])


@pytest.fixture(scope="module")
def clip(tiny_overrides: list[str]) -> FrozenClip:
    return load_clip(load_recipe("cascade-clip/picturebook/inductive", tiny_overrides).model.clip)


def build(clip: FrozenClip, overrides: list[str]) -> TrainingModule:
    settings = [*overrides, *PICTURES, "train.steps=1", "train.sanity=false"]
    recipe = load_recipe("cascade-clip/picturebook/inductive", settings)
    torch.manual_seed(0)
    network = SegmentationNetwork(copy.deepcopy(clip.visual), recipe.model)
    classes = open_dataset(recipe.data, "train").classes
    text = clip.text_encoder(classes.names)
    return TrainingModule(network, recipe, classes, text, clip.normalisation)


def steps(recipe: Recipe) -> PartsOfSteps:
    return train_loader(recipe, open_dataset(recipe.data, "train"), IMAGENET.mean, 0, 0, 1)


def one_step(module: TrainingModule, folder: Path) -> Watch:
    """The first step as `cascade-clip train` takes it."""
    watch = Watch()
    with without_noise():
        loop = build_trainer(module.recipe.train, folder, 0, [watch], quiet=True)
        loop.fit(module, steps(module.recipe))
    return watch


def whole_batch(module: TrainingModule) -> tuple[float, Gradients]:
    """The loss as its formula reads, of all pictures of the first step at once."""
    batch = next(iter(steps(module.recipe)))
    settings = module.recipe.loss
    parts = module.recipe.train.accumulate
    assert len(batch.images) == BATCH
    images, labels = zip(*(module._part(batch, part) for part in range(parts)), strict=True)
    output, targets = module.predict_for_loss(torch.cat(images), torch.cat(labels))
    mask_logits = output.mask_logits
    focal, dice = naive.focal_and_dice(
        mask_logits, targets, settings.focal_alpha, settings.focal_gamma
    )
    loss = settings.focal_weight * focal + settings.dice_weight * dice
    if settings.ssim_weight:
        ssim = naive.structural_dissimilarity(mask_logits, targets)
        loss = loss + settings.ssim_weight * ssim
    names, parameters = zip(*module.network.trained_parameters().items(), strict=True)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return loss.item(), {n: g for n, g in zip(names, found, strict=True) if g is not None}


def largest_difference(found: Gradients, expected: Gradients) -> float:
    """In units of the largest element of all."""
    assert found.keys() == expected.keys()
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    return max(float((found[name] - expected[name]).abs().max()) for name in expected) / scale


@pytest.mark.parametrize("setting", ["inductive", "transductive", "full"])
@pytest.mark.parametrize(
    ("loss", "parts"), [("focal", 2), ("dice", 2), ("ssim", 2), ("all", 1), ("all", 4)]
)
def test_the_gradient_is_that_of_one_large_batch(
    clip: FrozenClip,
    tmp_path: Path,
    tiny_overrides: list[str],
    setting: str,
    loss: str,
    parts: int,
) -> None:
    settings = [f"train.setting={setting}", f"train.accumulate={parts}"]
    module = build(clip, [*tiny_overrides, *NO_DROPOUT, *LOSSES[loss], *settings])
    value, expected = whole_batch(module)
    step = one_step(module, tmp_path)
    assert step.loss == pytest.approx(value, rel=1e-5)
    assert largest_difference(step.gradients, expected) < 1e-5


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_pseudo_labels_are_counted_as_the_parts_find_them(
    clip: FrozenClip,
    tmp_path: Path,
    tiny_overrides: list[str],
    precision: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainer, "cpu_features", lambda: {"avx512_bf16"})  # tiny, so slow will do
    settings = ["train.setting=transductive", "train.accumulate=2"]
    module = build(clip, [*tiny_overrides, *settings, f"train.precision='{precision}'"])
    targets = []
    predict = module.predict_for_loss

    def noted(images: Tensor, labels: Tensor) -> tuple[Output, Tensor]:
        output, found = predict(images, labels)
        targets.append(found)
        return output, found

    monkeypatch.setattr(module, "predict_for_loss", noted)
    step = one_step(module, tmp_path)
    counted, learned = targets[:2], targets[2:]
    assert len(learned) == 2
    assert all(map(torch.equal, counted, learned))  # with dropout, the same one
    assert not torch.equal(counted[0], counted[1])
    assert step.gradients.keys() == module.network.trained_parameters().keys()
