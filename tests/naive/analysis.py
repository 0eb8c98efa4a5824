"""Naive twins of the analyses: one pair, one pixel, one threshold at a time."""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor


def hsic_by_trace(x: Tensor, y: Tensor) -> float:
    """Unbiased HSIC of features (n, p) and (n, q) with linear kernels, as Song et al. (JMLR 2012)
    write Eq. 5: traces and sums of Gram matrices without diagonal."""
    n = len(x)
    k, m = x.double() @ x.double().T, y.double() @ y.double().T
    k, m = k - k.diag().diag(), m - m.diag().diag()
    one = torch.ones(n, dtype=torch.float64)
    first = torch.trace(k @ m)
    second = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (one @ k @ m @ one)
    return ((first + second - third) / (n * (n - 3))).item()


def hsic_by_quadruples(x: Tensor, y: Tensor) -> float:
    """The same as a mean over all ordered quadruples of different pictures: twice the sum of
    cov(K, L) over pairs is E[k_ij (l_ij + l_qr - 2 l_iq)]."""
    k, m = x.double() @ x.double().T, y.double() @ y.double().T
    values = [
        (k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])).item()
        for i, j, q, r in permutations(range(len(x)), 4)
    ]
    return sum(values) / len(values)


def cka_in_one_piece(x: Tensor, y: Tensor) -> float:
    """Linear CKA from one n x n computation."""
    return hsic_by_trace(x, y) / (hsic_by_trace(x, x) * hsic_by_trace(y, y)) ** 0.5


def average_precision(scores: list[float], positive: list[bool]) -> float:
    """Sum of precision times the recall gained, from the highest score down; equal scores come at
    once."""
    total, result, found, taken = sum(positive), 0.0, 0, 0
    for level in sorted(set(scores), reverse=True):
        here = [p for s, p in zip(scores, positive, strict=True) if s == level]
        found, taken = found + sum(here), taken + len(here)
        result += found / taken * sum(here) / total
    return result


def best_iou(scores: list[float], positive: list[bool]) -> float:
    """The highest IoU of {score >= level} and the positives."""
    best = 0.0
    for level in set(scores):
        chosen = [s >= level for s in scores]
        both = sum(c and p for c, p in zip(chosen, positive, strict=True))
        either = sum(c or p for c, p in zip(chosen, positive, strict=True))
        best = max(best, both / either)
    return best


def boundary_f(predicted: Tensor, truth: Tensor, tolerance: int) -> float:
    """Boundary F-score of two masks (H, W), pixel by pixel."""
    outlines = [_outline(mask) for mask in (predicted, truth)]
    if not any(outlines):
        return 1.0
    shares = []
    for points, others in (outlines, outlines[::-1]):
        near = [any(max(abs(y - v), abs(x - u)) <= tolerance for v, u in others) for y, x in points]
        shares.append(sum(near) / len(near) if near else 0.0)
    return 2 * shares[0] * shares[1] / sum(shares) if sum(shares) else 0.0


def _outline(mask: Tensor) -> list[tuple[int, int]]:
    height, width = mask.shape
    found = []
    for y in range(height):
        for x in range(width):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            inside = [p for p in around if 0 <= p[0] < height and 0 <= p[1] < width]
            if mask[y, x] and any(not mask[p] for p in inside):
                found.append((y, x))
    return found
