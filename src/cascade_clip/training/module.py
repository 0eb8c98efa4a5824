"""One training step, one validation step, one optimizer: what Lightning's Trainer drives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from cascade_clip.config import Recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.labels import full_targets
from cascade_clip.data.samples import Batch
from cascade_clip.data.sampling import derive_seed
from cascade_clip.errors import TrainingFailed, UserError
from cascade_clip.evaluation.evaluate import predict
from cascade_clip.evaluation.metrics import Metrics, SegmentationMetrics
from cascade_clip.losses.segmentation import SegmentationLoss
from cascade_clip.model.fast.compiling import wants_compile
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.ops.images import normalise
from cascade_clip.training.schedule import build_optimizer, learning_rate
from cascade_clip.training.targets import inductive_targets, transductive_targets

LOSS_EVERY = 10
"""Steps between updates of `last_loss`."""


class TrainingModule(pl.LightningModule):
    """Trains `network` on `classes` as `recipe` says.

    `text_embeddings` (C, d) hold all classes in label order; in the inductive setting only those of
    the seen ones ever enter the forward pass. The state is the adapter alone, not the frozen CLIP.

    Raises `UserError` if the setting is transductive and no class is unseen.
    """

    text_embeddings: Tensor
    seen: Tensor
    unseen: Tensor

    def __init__(
        self,
        network: SegmentationNetwork,
        recipe: Recipe,
        classes: ClassSet,
        text_embeddings: Tensor,
    ) -> None:
        super().__init__()
        if recipe.train.setting == "transductive" and not classes.unseen:
            raise UserError(
                "train.setting 'transductive' gives pseudo-labels to unseen classes, but none is "
                "unseen; use 'full', or name unseen classes in the split"
            )
        self.network = network
        network.encoder.checkpoint_activations = recipe.train.checkpoint_activations
        self.recipe = recipe
        self.classes = classes
        self.loss = SegmentationLoss(recipe.loss)
        self.metrics = SegmentationMetrics(classes.names, classes.unseen)
        self.last_loss: float | None = None
        self.last_validation: Metrics | None = None
        self.last_validation_step = 0
        self.register_buffer("text_embeddings", text_embeddings, persistent=False)
        self.register_buffer("seen", torch.tensor(classes.seen_indices), persistent=False)
        self.register_buffer(
            "unseen", torch.tensor(classes.unseen_indices, dtype=torch.long), persistent=False
        )

    def on_fit_start(self) -> None:
        if wants_compile(self.recipe.train.compile, self.device):
            self.network.compile()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # Dropout depends on (seed, forward pass, process) alone, so a resumed run repeats it.
        torch.manual_seed(derive_seed(self.recipe.train.seed, batch_idx, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images = normalise(batch.images, self.recipe.data.mean, self.recipe.data.std)
        mask_logits, targets = self.predict_for_loss(images, batch.labels)
        terms = self.loss(mask_logits, targets)
        self.log_dict(
            {
                "loss": terms.total,
                "loss_focal": terms.focal,
                "loss_dice": terms.dice,
                **({"loss_ssim": terms.ssim} if self.recipe.loss.ssim_weight else {}),
                "lr": learning_rate(self.global_step, self.recipe.train),
            },
            sync_dist=True,
        )
        return terms.total

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.global_step % LOSS_EVERY == 0:
            # Reading it waits for the device, so not at every step.
            self.last_loss = float(outputs["loss"])
            diverged = not math.isfinite(self.last_loss)
            # All processes have to agree, or the others would wait for this one.
            if self.trainer.strategy.reduce_boolean_decision(diverged, all=False):
                raise TrainingFailed(
                    f"training diverged: the loss is no longer finite after step "
                    f"{self.global_step}; lower train.lr"
                )

    def predict_for_loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mask logits (B, C', h, w) and targets (B, H, W) over the same C' classes."""
        if self.recipe.train.setting == "inductive":
            mask_logits = self.network(images, self.text_embeddings[self.seen]).mask_logits
            return mask_logits, inductive_targets(labels, self.seen)
        mask_logits = self.network(images, self.text_embeddings).mask_logits
        if self.recipe.train.setting == "full":
            return mask_logits, full_targets(labels)
        return mask_logits, transductive_targets(labels, mask_logits, self.seen, self.unseen)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        labels = predict(
            self.network, batch.images, self.text_embeddings, self.classes, self.recipe
        )
        self.metrics.update(labels, full_targets(batch.labels))

    def on_validation_epoch_end(self) -> None:
        result = self.metrics.compute()
        self.metrics.reset()
        self.last_validation, self.last_validation_step = result, self.global_step
        self.log_dict(
            {
                "val_pAcc": result.pixel_accuracy,
                "val_mIoU": result.miou,
                "val_S": result.miou_seen,
                "val_U": result.miou_unseen,
                "val_h": result.hiou,
            }
        )

    def configure_optimizers(self) -> Any:
        settings = self.recipe.train
        optimizer = build_optimizer(self.network.trained_parameters().values(), settings)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate(step, settings) / settings.lr
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        return self.network.adapter_state_dict()

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        self.network.load_adapter_state_dict(state_dict)
        return torch.nn.modules.module._IncompatibleKeys([], [])
