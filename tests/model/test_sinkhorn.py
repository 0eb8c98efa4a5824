"""Transport plans: marginals, the naive twin, gradients, precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.model import sinkhorn
from cascade_clip.model.sinkhorn import transport_plans
from tests.naive import sinkhorn as naive


def cosines(problems: int = 3, prompts: int = 5, patches: int = 40, spread: float = 0.3) -> Tensor:
    """(P, K, N), spread as after training."""
    generator = torch.Generator().manual_seed(4)
    return (spread * torch.randn(problems, prompts, patches, generator=generator)).clamp(-1, 1)


def naive_plans(similar: Tensor, rounds: int | None = None) -> Tensor:
    plans = naive.transport_plans([one.T for one in similar], rounds)
    return torch.stack([plan.T for plan in plans])


@pytest.mark.parametrize("rounds", [None, 1, 7])
@pytest.mark.parametrize("shape", [(3, 5, 40), (1, 1, 9), (2, 4, 1)])
def test_plans_are_those_of_the_naive_twin(shape: tuple[int, int, int], rounds: int | None) -> None:
    similar = cosines(*shape)
    torch.testing.assert_close(
        transport_plans(similar, rounds), naive_plans(similar, rounds), atol=1e-6, rtol=1e-4
    )


def test_sums_are_the_marginals() -> None:
    plans = transport_plans(cosines(), 1000)
    torch.testing.assert_close(plans.sum(2), torch.full((3, 5), 1 / 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(plans.sum(1), torch.full((3, 40), 1 / 40), atol=1e-6, rtol=0)


def test_all_problems_stop_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    change = sinkhorn._change
    monkeypatch.setattr(
        sinkhorn, "_change", lambda *each: (asked.append(each[0].shape), change(*each))[1]
    )

    def rounds_of(similar: Tensor) -> int:
        asked.clear()
        transport_plans(similar, None)
        return len(asked)

    easy, hard = cosines(1, spread=0.01), cosines(1, spread=0.3)
    assert rounds_of(easy) < rounds_of(torch.cat([easy, hard])) < rounds_of(hard) < 100


def test_what_is_not_kept_for_the_gradient_does_not_change_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gradients, weight = [], cosines(spread=1.0)
    for keeps in (False, True):
        if keeps:
            monkeypatch.setattr(sinkhorn, "checkpoint", lambda f, *a, **options: f(*a))
        similar = cosines().requires_grad_()
        (transport_plans(similar, None) * weight).sum().backward()
        gradients.append(similar.grad)
    assert torch.equal(*gradients)


def test_little_is_kept_for_the_gradient() -> None:
    kept: list[int] = []

    def keep(value: Tensor) -> Tensor:
        kept.append(value.numel())
        return value

    similar = cosines().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        transport_plans(similar, 100)
    assert sum(kept) <= 2 * similar.numel()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_left_to_what_surrounds_it(dtype: torch.dtype) -> None:
    similar = F.normalize(cosines(), dim=1).to(dtype)
    expected = transport_plans(similar.float(), None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plans = transport_plans(similar, None)
    assert plans.dtype == torch.float32
    assert torch.equal(plans, expected)


def test_cosines_as_far_apart_as_they_get_stay_within_float32() -> None:
    similar = torch.full((1, 3, 20), -1.0)
    similar[:, 0, :10] = 1.0
    plans = transport_plans(similar, None)
    assert plans.isfinite().all()
    exact = transport_plans(similar.double(), None)
    torch.testing.assert_close(plans.double(), exact, atol=1e-6, rtol=0)
