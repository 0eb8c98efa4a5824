"""Muon for the matrices of the blocks, AdamW for everything else, as one optimiser."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW

MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Muon(AdamW):
    """Groups with a `momentum` are stepped by Muon, the others by AdamW.

    Muon makes the momentum of a matrix's gradient orthogonal, at the size that an AdamW update has
    (Jordan et al., 2024; Liu et al., arXiv 2502.16982). torch's own does so matrix by matrix in
    bfloat16, which without the instructions for it takes eight times as long as this one does, in
    float32 and with all matrices of one shape at once.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["momentum"] is not None:
                _step_group(group)
        super().step()  # of those that still have a gradient
        return loss


def matrix_groups(matrices: Iterable[nn.Parameter], lr: float) -> list[dict[str, Any]]:
    """Parameter groups for Muon, one per shape."""
    ordered = sorted(matrices, key=lambda matrix: tuple(matrix.shape))
    groups = []
    for shape, same in groupby(ordered, key=lambda matrix: tuple(matrix.shape)):
        params = list(same)
        momentum = torch.zeros(len(params), *shape, device=params[0].device)
        groups.append({"params": params, "momentum": momentum, "lr": lr})
    return groups


def _step_group(group: dict[str, Any]) -> None:
    gradient = torch.stack([matrix.grad for matrix in group["params"]])  # (n, rows, columns)
    momentum = group["momentum"].lerp_(gradient, 1 - MOMENTUM)
    update = orthogonal(gradient.lerp(momentum, MOMENTUM))  # Nesterov's
    size = 0.2 * max(update.shape[-2:]) ** 0.5  # root mean square 0.2, as AdamW's
    for matrix, change in zip(group["params"], update, strict=True):
        matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(change, alpha=group["lr"] * size)
        matrix.grad = None


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (n, rows, columns) with singular values near 1 and the same singular vectors."""
    rows, columns = matrices.shape[-2:]
    x = matrices.mT if rows > columns else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if rows > columns else x
