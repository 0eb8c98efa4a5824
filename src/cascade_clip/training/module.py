"""One training step, one validation step, one optimizer: what Lightning's Trainer drives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from cascade_clip.config import Normalisation, Recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.data.labels import IGNORE, full_targets
from cascade_clip.data.samples import Batch
from cascade_clip.data.sampling import derive_seed
from cascade_clip.errors import TrainingFailed, UserError
from cascade_clip.evaluation.evaluate import predict
from cascade_clip.evaluation.metrics import Metrics, SegmentationMetrics
from cascade_clip.losses.segmentation import (
    SegmentationLoss,
    normaliser,
    present_classes,
)
from cascade_clip.model.fast.compiling import wants_compile
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.protocol import Output
from cascade_clip.ops.images import normalise
from cascade_clip.training.schedule import build_optimizer, learning_rate
from cascade_clip.training.targets import inductive_targets, transductive_targets

LOSS_EVERY = 10
"""Steps between updates of `last_loss`."""


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """What is minimised: the sum of the weighted terms."""
    return torch.stack(list(terms.values())).sum()


class TrainingModule(pl.LightningModule):
    """Trains `network` on `classes` as `recipe` says.

    `text_embeddings`, (C, d) or (C, K, d), hold all classes in label order; in the inductive
    setting only those of the seen ones ever enter the forward pass. `normalisation` is that of the
    pictures. The state is the adapter alone, not the frozen CLIP.

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
        normalisation: Normalisation,
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
        self.normalisation = normalisation
        self.loss = SegmentationLoss(recipe.loss)
        self.metrics = SegmentationMetrics(classes.names, classes.unseen)
        self.n: Tensor | None = None
        self.terms: list[dict[str, Tensor]] = []
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
        self._seed_dropout(batch_idx)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of one part of a step; `batch` holds all of the step's pictures."""
        part = batch_idx % self.recipe.train.accumulate
        if part == 0:
            self.terms = []
            self.n = self._shared_normaliser(batch, batch_idx)
        terms = self.loss_terms(*self.predict_for_loss(*self._part(batch, part)))
        self.terms.append({name: term.detach() for name, term in terms.items()})
        if self._ends_step(batch_idx):
            self._log_step()
        return total(terms)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self._ends_step(batch_idx) and self.global_step % LOSS_EVERY == 0:
            # Reading it waits for the device, so not at every step.
            self.last_loss = float(total(self._step_terms()))
            diverged = not math.isfinite(self.last_loss)
            # All processes have to agree, or the others would wait for this one.
            if self.trainer.strategy.reduce_boolean_decision(diverged, all=False):
                raise TrainingFailed(
                    f"training diverged: the loss is no longer finite after step "
                    f"{self.global_step}; lower train.lr"
                )

    def _part(self, batch: Batch, part: int) -> tuple[Tensor, Tensor]:
        """Normalised pictures (B, 3, H, W) and labels (B, H, W) of one part of a step."""
        images, labels = (
            whole.chunk(self.recipe.train.accumulate)[part]
            for whole in (batch.images, batch.labels)
        )
        return normalise(images, self.normalisation.mean, self.normalisation.std), labels

    def _shared_normaliser(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """What all parts of a step divide their loss by; None if it has only one, which counts.

        Pseudo-labels have to be predicted before they can be counted: by the weights and with the
        dropout of the passes to come.
        """
        parts, setting = self.recipe.train.accumulate, self.recipe.train.setting
        if parts == 1:
            return None
        pairs = torch.zeros((), device=self.device)
        for part in range(parts):
            images, labels = self._part(batch, part)
            if setting == "inductive":
                targets = inductive_targets(labels, self.seen)
            elif setting == "full":
                targets = full_targets(labels)
            else:
                self._seed_dropout(batch_idx + part)
                with torch.no_grad():
                    _, targets = self.predict_for_loss(images, labels)
            pairs += present_classes(targets, len(self.text_embeddings), IGNORE).sum()
        self._seed_dropout(batch_idx)
        return normaliser(pairs, parts)

    def _ends_step(self, batch_idx: int) -> bool:
        return (batch_idx + 1) % self.recipe.train.accumulate == 0

    def _step_terms(self) -> dict[str, Tensor]:
        """The terms of the whole step."""
        return {
            name: torch.stack([terms[name] for terms in self.terms]).mean()
            for name in self.terms[0]
        }

    def _log_step(self) -> None:
        terms = self._step_terms()
        self.log_dict(
            {
                "loss": total(terms),
                **{f"loss_{name}": term for name, term in terms.items()},
                "lr": learning_rate(self.global_step, self.recipe.train),
            },
            sync_dist=True,
        )

    def _seed_dropout(self, forward_pass: int) -> None:
        # It depends on (seed, forward pass, process) alone, so a resumed run repeats it.
        torch.manual_seed(derive_seed(self.recipe.train.seed, forward_pass, self.global_rank))

    def loss_terms(self, output: Output, targets: Tensor) -> Mapping[str, Tensor]:
        """The head's weighted terms, whose sum is minimised, of what `predict_for_loss` gave."""
        return self.network.head.loss_terms(output, targets, self._segmentation_terms)

    def predict_for_loss(self, images: Tensor, labels: Tensor) -> tuple[Output, Tensor]:
        """What the network gives for C' classes, and targets (B, H, W) over the same classes."""
        if self.recipe.train.setting == "inductive":
            output = self.network(images, self.text_embeddings[self.seen])
            return output, inductive_targets(labels, self.seen)
        output = self.network(images, self.text_embeddings)
        if self.recipe.train.setting == "full":
            return output, full_targets(labels)
        by_sigmoid = self.recipe.train.pseudo_labels == "sigmoid"
        return output, transductive_targets(
            labels, output.mask_logits, self.seen, self.unseen, by_sigmoid=by_sigmoid
        )

    def _segmentation_terms(self, mask_logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        terms = self.loss(mask_logits, targets, n=self.n)
        named = {"focal": terms.focal, "dice": terms.dice}
        return named | {"ssim": terms.ssim} if self.recipe.loss.ssim_weight else named

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.metrics.update(self.predict_labels(batch.images), full_targets(batch.labels))

    def predict_labels(self, images: Tensor) -> Tensor:
        """Labels (B, H, W) of pictures (B, 3, H, W) uint8, over all classes."""
        text = self.text_embeddings
        return predict(self.network, images, text, self.classes, self.recipe, self.normalisation)

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
        optimizer, scheduler = build_optimizer(self.network.trained_parameters(), self.recipe.train)
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
