"""Optimal transport between the patches of an image and the prompts of a class.

OTSeg (arXiv 2403.14183) divides each class's patches among its prompts by entropic transport with
uniform marginals: Sinkhorn's iterations.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cascade_clip.support.devices import without_autocast

EPSILON = 0.05
"""Weight of the entropy. Costs 1 - cosine are at most 2, so kernels exp(-cost / EPSILON) are e^-40
at least: within float32, where scalings of them are nearer to the truth than their logarithms."""
MARGINAL_FLOOR = 1e-8
"""What the released code adds to the marginals, before it takes their logarithm."""
MOST_ROUNDS = 100
STILL = 1e-6
"""Iterations end once the potentials of the patches, EPSILON * log(scaling), change by less, as a
mean over all patches of all problems."""


def transport_plans(cosines: Tensor, rounds: int | None) -> Tensor:
    """Plans (..., K, N) of cosines (..., K, N) between K prompts and N patches: non-negative, each
    prompt has 1/K in sum over the patches, and each patch nearly 1/N over the prompts.

    `rounds` of Sinkhorn's iterations; None: until they stand still or `MOST_ROUNDS`, as the
    released code, where all problems together decide. In float32, or float64 for such cosines.
    Gradients run through all rounds; the backward pass computes them again instead of keeping them.
    """
    if cosines.requires_grad and torch.is_grad_enabled():
        return checkpoint(_plans, cosines, rounds, use_reentrant=False, preserve_rng_state=False)
    return _plans(cosines, rounds)


def _plans(cosines: Tensor, rounds: int | None) -> Tensor:
    with without_autocast(cosines.device):
        wide = cosines.to(torch.promote_types(cosines.dtype, torch.float32))
        kernel = ((wide.flatten(0, -3) - 1) / EPSILON).exp()  # (P, K, N) for P problems
        by_prompt, by_patch = _scalings(kernel, rounds)
        return (by_prompt.mT.contiguous() * kernel * by_patch).unflatten(0, cosines.shape[:-2])


def _scalings(kernel: Tensor, rounds: int | None) -> tuple[Tensor, Tensor]:
    """Of the prompts (P, 1, K) and the patches (P, 1, N) of kernels (P, K, N). The prompts' come
    last, so that their marginals are exact."""
    in_a_graph = rounds is None and torch.compiler.is_exporting()
    transposed = kernel.mT  # (P, N, K)
    if in_a_graph:  # where the loop takes no tensor twice: a copy, even where K or N is 1
        transposed = transposed.clone(memory_format=torch.contiguous_format)
    by_prompt, by_patch = torch.ones_like(transposed[:, :1]), torch.ones_like(kernel[:, :1])
    patch_share = 1 / by_patch.sum(dim=2, keepdim=True) + MARGINAL_FLOOR  # (P, 1, 1)
    prompt_share = 1 / by_prompt.sum(dim=2, keepdim=True) + MARGINAL_FLOOR  # (P, 1, 1)

    def one_round(by_prompt: Tensor) -> tuple[Tensor, Tensor]:
        by_patch = patch_share / torch.bmm(by_prompt, kernel)  # (P, 1, N)
        return prompt_share / torch.bmm(by_patch, transposed), by_patch  # (P, 1, K) first

    if in_a_graph:
        return _loop_in_a_graph(one_round, by_prompt, by_patch)
    for _ in range(MOST_ROUNDS if rounds is None else rounds):
        before = by_patch
        by_prompt, by_patch = one_round(by_prompt)
        if rounds is None and bool(_change(before, by_patch) < STILL):
            break
    return by_prompt, by_patch


def _loop_in_a_graph(
    one_round: Callable[[Tensor], tuple[Tensor, Tensor]], by_prompt: Tensor, by_patch: Tensor
) -> tuple[Tensor, Tensor]:
    """The same loop as one operation, which an exported graph can hold."""

    def goes_on(count: Tensor, change: Tensor, *_: Tensor) -> Tensor:
        return (count < MOST_ROUNDS) & (change >= STILL)

    def body(
        count: Tensor, _: Tensor, by_prompt: Tensor, before: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        by_prompt, by_patch = one_round(by_prompt)
        return count + 1, _change(before, by_patch), by_prompt, by_patch

    start = (torch.zeros((), dtype=torch.int64), by_patch.new_ones(()), by_prompt, by_patch)
    _, _, by_prompt, by_patch = torch.while_loop(goes_on, body, start)
    return by_prompt, by_patch


@torch.no_grad()
def _change(before: Tensor, after: Tensor) -> Tensor:
    """By how much the patches' potentials change, as a mean over all problems: ()."""
    return EPSILON * (after / before).log().abs().mean()
