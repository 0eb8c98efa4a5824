"""The training loss: sigmoid focal + dice (+ SSIM), straight from low-resolution mask logits.

ZegCLIP (arXiv 2212.03588) and Cascade-CLIP (arXiv 2406.00670) train with
`100 * focal + 1 * dice` on the upsampled mask logits. Here nothing of the size
classes x height x width is ever held: see `losses/fused.py`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cascade_clip.config import LossSettings
from cascade_clip.losses.fused import fused_focal_and_dice
from cascade_clip.losses.ssim import structural_dissimilarity


class LossTerms(NamedTuple):
    """Weighted terms, each a scalar."""

    focal: Tensor
    dice: Tensor
    ssim: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum, which is what to minimise."""
        return self.focal + self.dice + self.ssim


class SegmentationLoss(nn.Module):
    """Focal loss over all class maps plus dice loss over the maps of present classes.

    With p = sigmoid(logit) upsampled to the labels' size, y in {0, 1} per map, and n the number of
    (image, present class) pairs, averaged over processes, at least 1 (see `normaliser`):

    - focal: `-alpha (1-p)^gamma log p` where y = 1, `-(1-alpha) p^gamma log(1-p)` where y = 0
      (arXiv 1708.02002, Eq. 5); mean over pixels, sum over all B*C maps, divided by n.
    - dice: `1 - (2 sum(p y) + 1) / (sum(p) + sum(y) + 1)`; sum over the maps of the classes that
      are present in their image, divided by n.
    - ssim: `structural_dissimilarity` of all maps, for SPT-SEG (arXiv 2312.12754); left out where
      its weight is 0, as in all other methods.

    Ignored pixels have y = 0 in every map but do count, in all terms, as in the released code. An
    image with nothing but ignored pixels has no present class.
    """

    def __init__(self, settings: LossSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(
        self,
        mask_logits: Tensor,
        labels: Tensor,
        ignore: int = 255,
        n: Tensor | None = None,
    ) -> LossTerms:
        """Compute the loss.

        Args:
            mask_logits: (B, C, h, w) at any resolution, before sigmoid. Lower precisions are
                computed in float32, float64 in float64.
            labels: (B, H, W) integers in 0..C-1, or `ignore`.
            ignore: label of pixels without a class.
            n: scalar to divide by where these pictures are a part of a step's; None: counted here.

        Raises:
            ValueError: if the shapes do not belong together or a label is none of the allowed ones.
        """
        _check_shapes(mask_logits, labels)
        present = present_classes(labels, mask_logits.shape[1], ignore)  # (B, C)
        focal, dice = fused_focal_and_dice(
            mask_logits,
            labels,
            present,
            normaliser=normaliser(present.sum()) if n is None else n,
            alpha=self.settings.focal_alpha,
            gamma=self.settings.focal_gamma,
        )
        focal = self.settings.focal_weight * focal
        dice = self.settings.dice_weight * dice
        ssim = torch.zeros_like(dice)
        if self.settings.ssim_weight:
            ssim = self.settings.ssim_weight * structural_dissimilarity(mask_logits, labels)
        return LossTerms(focal, dice, ssim)


def normaliser(pairs: Tensor, parts: int = 1) -> Tensor:
    """n for each of `parts` equal parts of a step with this many (image, present class) pairs.

    Pairs are counted over the whole step and all processes, as in the released code: n is their
    mean over processes, at least 1, and a part has its share of it. So the mean over the parts is
    the loss, and the gradient, of the whole step.
    """
    return _mean_over_processes(pairs).clamp(min=1) / parts


def present_classes(labels: Tensor, num_classes: int, ignore: int) -> Tensor:
    """Which classes each image holds: labels (B, H, W) -> bool (B, num_classes).

    Raises:
        ValueError: if `ignore` is itself a class, or a label is neither a class nor `ignore`.
    """
    if 0 <= ignore < num_classes:
        raise ValueError(
            f"ignore is {ignore}, which is also one of the {num_classes} classes; "
            "use a value outside of them"
        )
    flat = labels.flatten(1).long()  # (B, H*W)
    ignored = flat == ignore
    unknown = ((flat < 0) | (flat >= num_classes)) & ~ignored
    if unknown.any():
        values = sorted(set(flat[unknown].tolist()))
        raise ValueError(
            f"labels hold {values[:8]}, but the mask logits have the classes 0..{num_classes - 1} "
            f"and {ignore} means ignore; map the labels to these first"
        )
    present = torch.zeros(len(flat), num_classes + 1, dtype=torch.bool, device=labels.device)
    present.scatter_(1, flat.masked_fill(ignored, num_classes), True)
    return present[:, :num_classes]  # (B, C)


def _check_shapes(mask_logits: Tensor, labels: Tensor) -> None:
    if mask_logits.dim() != 4 or labels.dim() != 3 or len(mask_logits) != len(labels):
        raise ValueError(
            "the loss needs mask logits (B, C, h, w) and labels (B, H, W) of the same B, got "
            f"{tuple(mask_logits.shape)} and {tuple(labels.shape)}"
        )
    if labels.is_floating_point():
        raise ValueError(f"labels must be integers, got {labels.dtype}")


def _mean_over_processes(count: Tensor) -> Tensor:
    count = count.float()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return count
