"""Focal and dice loss whose gradient is computed along with their value, a few maps at a time.

Each chunk of class maps is upsampled, turned into its share of both losses and of their gradients
with respect to the low-resolution logits, and forgotten. The gradients are two low-resolution
tensors, which the backward pass only scales. Maps of classes that are absent from their image, most
of them, have no positive pixel and no dice term, so they take a shorter path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from cascade_clip.model.fast.compiling import wants_compile
from cascade_clip.ops.bilinear import BilinearResize, maps_per_chunk
from cascade_clip.support.devices import without_autocast

# Up to here log(1 - sigmoid(t)) is far from float32's underflow (about 87).
_LARGEST_LOGIT_FOR_LOG = 80.0


def fused_focal_and_dice(
    mask_logits: Tensor,
    labels: Tensor,
    present: Tensor,
    *,
    normaliser: Tensor,
    alpha: float,
    gamma: float,
) -> tuple[Tensor, Tensor]:
    """Both losses of `SegmentationLoss`, unweighted, as scalars that can be differentiated once.

    Args:
        mask_logits: (B, C, h, w) before sigmoid.
        labels: (B, H, W) integers; every value outside 0..C-1 is ignored.
        present: bool (B, C), the classes that each image holds.
        normaliser: scalar n by which the sums over maps are divided.
        alpha: weight of positive pixels in the focal loss; negative ones weigh 1 - alpha.
        gamma: focusing exponent of the focal loss.
    """
    focal, dice = _FocalAndDice.apply(mask_logits, labels, present, normaliser, alpha, gamma)
    return focal, dice


class _FocalAndDice(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        mask_logits: Tensor,
        labels: Tensor,
        present: Tensor,
        normaliser: Tensor,
        alpha: float,
        gamma: float,
    ) -> tuple[Tensor, Tensor]:
        with without_autocast(mask_logits.device):
            maps = _ClassMaps(mask_logits, labels, alpha, gamma, ctx.needs_input_grad[0])
            maps.add_absent((~present).flatten().nonzero().squeeze(1))
            maps.add_present(present.flatten().nonzero().squeeze(1))
            focal_scale = 1 / (normaliser * labels[0].numel())
            dice_scale = 1 / normaliser
            if ctx.needs_input_grad[0]:
                ctx.save_for_backward(
                    (maps.focal_gradient * focal_scale).view_as(mask_logits),
                    (maps.dice_gradient * dice_scale).view_as(mask_logits),
                )
                ctx.dtype = mask_logits.dtype
            return maps.focal.sum() * focal_scale, maps.dice.sum() * dice_scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, focal_scale: Tensor, dice_scale: Tensor) -> tuple[Tensor | None, ...]:
        focal_gradient, dice_gradient = ctx.saved_tensors
        gradient = focal_gradient * focal_scale + dice_gradient * dice_scale  # (B, C, h, w)
        return gradient.to(ctx.dtype), None, None, None, None, None


class _ClassMaps:
    """Sums (B*C,) of both losses over pixels, and their gradients (B*C, h, w)."""

    def __init__(
        self, mask_logits: Tensor, labels: Tensor, alpha: float, gamma: float, gradients: bool
    ) -> None:
        dtype = torch.promote_types(mask_logits.dtype, torch.float32)
        self.logits = mask_logits.detach().flatten(0, 1).to(dtype)  # (B*C, h, w)
        self.labels = labels.to(torch.int32)  # (B, H, W)
        self.num_classes = mask_logits.shape[1]
        resize = BilinearResize.between(
            (mask_logits.shape[2], mask_logits.shape[3]),
            (labels.shape[1], labels.shape[2]),
            dtype=dtype,
            device=mask_logits.device,
        )
        self.form = Form(resize, alpha, gamma, gradients, stable=_needs_stability(self.logits))
        self.focal = self.logits.new_zeros(len(self.logits))
        self.dice = torch.zeros_like(self.focal)
        if gradients:
            self.focal_gradient = torch.zeros_like(self.logits)
            self.dice_gradient = torch.zeros_like(self.logits)

    def add_absent(self, maps: Tensor) -> None:
        """Maps (M,) without a positive pixel: their focal term only."""
        terms = _for_device(absent_terms, maps.device)
        for chunk in self._chunks(maps):
            self.focal[chunk], gradient = terms(self.logits[chunk], self.form)
            if gradient is not None:
                self.focal_gradient[chunk] = gradient

    def add_present(self, maps: Tensor) -> None:
        """Maps (M,) of classes that their image holds: focal and dice."""
        terms = _for_device(present_terms, maps.device)
        for chunk in self._chunks(maps):
            classes = (chunk % self.num_classes).to(torch.int32)
            labels = self.labels[chunk // self.num_classes]  # (k, H, W)
            positive = labels == classes[:, None, None]
            focal, dice = terms(self.logits[chunk], positive, self.form)
            self.focal[chunk], focal_gradient = focal
            self.dice[chunk], dice_gradient = dice
            if focal_gradient is not None and dice_gradient is not None:
                self.focal_gradient[chunk] = focal_gradient
                self.dice_gradient[chunk] = dice_gradient

    def _chunks(self, maps: Tensor) -> Iterator[Tensor]:
        """Indices (k,) of the maps that are worked on together."""
        length = maps_per_chunk(self.labels[0].numel(), maps.device)
        for first in range(0, len(maps), length):
            yield maps[first : first + length]


@dataclass(frozen=True)
class Form:
    """What is the same for all maps."""

    resize: BilinearResize
    alpha: float
    gamma: float
    gradients: bool
    stable: bool
    """Whether the logits are so large that the logarithm of their sigmoid needs care."""


Term = tuple[Tensor, Tensor | None]
"""Sums over pixels (k,) and, if they are wanted, their gradients (k, h, w)."""


def absent_terms(logits: Tensor, form: Form) -> Term:
    """The focal term of maps (k, h, w) without a positive pixel."""
    value, slope = _focal(form.resize(logits), form)
    weight = 1 - form.alpha
    gradient = form.resize.adjoint(slope).mul_(weight) if form.gradients else None
    return value.sum((1, 2)).mul_(weight), gradient


def present_terms(logits: Tensor, positive: Tensor, form: Form) -> tuple[Term, Term]:
    """The focal and the dice term of maps (k, h, w) with their positive pixels (k, H, W)."""
    logits = form.resize(logits)  # (k, H, W)
    dice = _dice(logits, positive, form)
    # A positive pixel of logit z is a negative one of logit -z with another weight.
    value, slope = _focal(torch.where(positive, -logits, logits), form)
    weight = torch.where(positive, form.alpha, 1 - form.alpha).to(logits.dtype)
    gradient = None
    if form.gradients:
        gradient = form.resize.adjoint(slope.mul_(torch.where(positive, -weight, weight)))
    return (value.mul_(weight).sum((1, 2)), gradient), dice


def _dice(logits: Tensor, positive: Tensor, form: Form) -> Term:
    p = torch.sigmoid(logits)  # (k, H, W)
    overlap = 2 * (p * positive).sum((1, 2)) + 1
    total = p.sum((1, 2)) + positive.sum((1, 2)) + 1
    if not form.gradients:
        return 1 - overlap / total, None
    # d(-overlap / total) / dp = overlap / total^2 - 2 y / total
    slope = (overlap / total**2)[:, None, None] - positive * (2 / total)[:, None, None]
    return 1 - overlap / total, form.resize.adjoint(slope.mul_(p).mul_(1 - p))


def _focal(t: Tensor, form: Form) -> tuple[Tensor, Tensor]:
    """f(t) = s^gamma softplus(t) with s = sigmoid(t), and its derivative; t is overwritten.

    f' = gamma s^gamma (1 - s) softplus(t) + s^(gamma + 1) = gamma f + s (s^gamma - gamma f).
    """
    log_q, q = _log_sigmoid(t.neg_(), form.stable)  # q = 1 - s, log q = -softplus(t)
    s = q.neg_().add_(1)
    slope = s * s if form.gamma == 2 else s**form.gamma
    value = log_q.mul_(slope).neg_()
    if form.gradients:
        slope.sub_(value, alpha=form.gamma).mul_(s).add_(value, alpha=form.gamma)
    return value, slope


def _log_sigmoid(t: Tensor, stable: bool) -> tuple[Tensor, Tensor]:
    """(log sigmoid(t), sigmoid(t)); t is overwritten.

    On a CPU the logarithm of the sigmoid, which is at hand, takes half the time of a stable
    log-sigmoid.
    """
    if stable:
        return F.logsigmoid(t), t.sigmoid_()
    q = t.sigmoid_()
    return q.log(), q


def _needs_stability(logits: Tensor) -> bool:
    """Whether a sigmoid may underflow. Interpolation never leaves the range of the logits, so one
    look at them tells; on an accelerator, where looking means waiting, the answer is yes."""
    return logits.device.type != "cpu" or bool(logits.abs().amax() >= _LARGEST_LOGIT_FOR_LOG)


def _for_device(terms: Callable[..., Any], device: torch.device) -> Callable[..., Any]:
    """The function itself, or on a GPU the kernels that it is compiled to."""
    return _compiled(terms) if wants_compile("auto", device) else terms


@cache
def _compiled(terms: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(terms, dynamic=True)
