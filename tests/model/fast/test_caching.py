"""What is kept between calls must never outlive the weights it was computed from."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model.build import build_network, build_settings, random_text
from torch import Tensor

from cascade_clip.model.fast.caching import MOST_ENTRIES, WeightCache
from cascade_clip.model.network import SegmentationNetwork


class Doubled:
    """Twice a weight, cached, with a count of how often it was computed."""

    def __init__(self, weight: Tensor) -> None:
        self.weight, self.cache, self.computed = weight, WeightCache().eval(), 0

    def __call__(self, key: object = "key") -> Tensor:
        return self.cache.get(self._compute, self.weight, key)

    def _compute(self, weight: Tensor, key: object) -> Tensor:
        self.computed += 1
        return 2 * weight


def test_unchanged_weights_are_computed_once() -> None:
    doubled = Doubled(torch.ones(2, requires_grad=True))
    with torch.no_grad():
        assert doubled() is doubled() and doubled.computed == 1


def test_weights_of_modules_are_followed() -> None:
    cache, linear, inputs = WeightCache().eval(), torch.nn.Linear(2, 2), torch.ones(1, 2)
    with torch.no_grad():
        before = cache.get(linear, inputs)
        assert cache.get(linear, inputs) is before
        linear.bias.add_(1)
        torch.testing.assert_close(cache.get(linear, inputs), before + 1)


@pytest.mark.parametrize(("trained", "computed"), [(True, 2), (False, 1)])
def test_training_keeps_what_follows_from_frozen_weights_alone(
    trained: bool, computed: int
) -> None:
    doubled = Doubled(torch.ones(2, requires_grad=trained))
    doubled.cache.train()
    with torch.no_grad():
        doubled()
        doubled()
    assert doubled.computed == computed


def test_a_value_made_in_inference_mode_serves_training_later() -> None:
    doubled = Doubled(torch.ones(2))
    with torch.inference_mode():
        doubled()
    factor = torch.ones(2, requires_grad=True)
    (doubled() * factor).sum().backward()
    assert doubled.computed == 1 and factor.grad is not None


def _set_data(tensor: Tensor) -> None:
    tensor.data = torch.full_like(tensor, 5.0)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.fill_(5.0),
        lambda tensor: tensor[0].mul_(3.0),
        _set_data,
    ],
    ids=["fill", "view", "data"],
)
def test_every_change_of_a_weight_is_noticed(change: Callable[[Tensor], None]) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    doubled = Doubled(weight)
    with torch.no_grad():
        doubled()
        change(weight)
        assert torch.equal(doubled(), 2 * weight)


@pytest.mark.parametrize("zero_first", [False, True])
def test_a_fused_optimizer_that_leaves_no_trace_is_noticed(zero_first: bool) -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    doubled = Doubled(weight)
    optimizer = torch.optim.AdamW([weight], fused=True)

    def value() -> Tensor:
        with torch.no_grad():
            return doubled()

    value()
    loss = doubled().sum()
    value()
    loss.backward()
    optimizer.step()
    if zero_first:
        optimizer.zero_grad()
    assert torch.equal(value(), 2 * weight.detach())
    optimizer.zero_grad()
    doubled.cache.eval()
    assert value() is value() and torch.equal(value(), 2 * weight.detach())


def test_gradients_flow_and_nothing_is_kept_for_them() -> None:
    weight = torch.ones(2, requires_grad=True)
    doubled = Doubled(weight)
    doubled().sum().backward()
    assert weight.grad is not None and not doubled.cache.entries


def test_inference_tensors_are_never_kept_since_their_changes_leave_no_trace() -> None:
    with torch.inference_mode():
        doubled = Doubled(torch.ones(2))
        doubled()
        doubled.weight.fill_(5.0)
        assert torch.equal(doubled(), torch.full((2,), 10.0))


def test_autocast_has_values_of_its_own() -> None:
    weight = torch.eye(2)
    cache = WeightCache()
    with torch.autocast("cpu", torch.bfloat16):
        low = cache.get(torch.matmul, weight, weight)
    assert low.dtype == torch.bfloat16
    assert cache.get(torch.matmul, weight, weight).dtype == torch.float32


def test_training_moving_copying_and_many_keys_leave_little_behind() -> None:
    doubled = Doubled(torch.ones(2))
    for key in range(3 * MOST_ENTRIES):
        doubled(key)
    cache = doubled.cache
    assert len(cache.entries) == MOST_ENTRIES
    for copied in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert not copied.entries and not copied.training
    assert cache.entries
    cache.train()
    assert not cache.entries
    doubled()
    cache.to(torch.float64)
    assert not cache.entries


def logits_of(network: SegmentationNetwork, image: Tensor, text: Tensor) -> Tensor:
    with torch.no_grad():
        return network(image, text).mask_logits


def afresh(network: SegmentationNetwork, image: Tensor, text: Tensor) -> Tensor:
    """What a network without any past gives."""
    return logits_of(copy.deepcopy(network), image, text.clone())


def _train_in_evaluation_mode(network: SegmentationNetwork, image: Tensor, text: Tensor) -> None:
    optimizer = torch.optim.AdamW(network.trained_parameters().values(), lr=0.1, fused=True)
    network(image, text).mask_logits.square().mean().backward()
    optimizer.step()


def _train_a_step(network: SegmentationNetwork, image: Tensor, text: Tensor) -> None:
    network.train()
    optimizer = torch.optim.AdamW(network.trained_parameters().values(), lr=0.1, fused=True)
    network(image, text).mask_logits.square().mean().backward()
    optimizer.step()
    network.eval()


def _load_other_weights(network: SegmentationNetwork, image: Tensor, text: Tensor) -> None:
    network.load_adapter_state_dict(build_network(network.settings).adapter_state_dict())


def _change_text(network: SegmentationNetwork, image: Tensor, text: Tensor) -> None:
    text.copy_(random_text(len(text)))


def _change_dtype(network: SegmentationNetwork, image: Tensor, text: Tensor) -> None:
    for tensor in (image, text):
        tensor.data = tensor.double()
    network.double()


def _other_grid(network: SegmentationNetwork, image: Tensor, text: Tensor) -> None:
    image.data = torch.randn(1, 3, 8 * int(torch.randint(1, 6, ())), 24).to(image)


CHANGES = (
    _train_a_step,
    _train_in_evaluation_mode,
    _load_other_weights,
    _change_text,
    _change_dtype,
    _other_grid,
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(CHANGES), min_size=1, max_size=5),
    st.sampled_from(("deep-prompts", "shallow-prompts", "frozen", "full")),
    st.booleans(),
    st.integers(0, 99),
)
def test_a_network_with_a_past_gives_what_a_fresh_one_gives(
    changes: list[Callable[..., None]], tuning: str, descriptor: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    prompts = 2 if tuning.endswith("prompts") else 0
    head = {"relationship_descriptor": descriptor}
    network = build_network(build_settings({"tuning": tuning, "prompts": prompts}, head))
    image, text = torch.randn(1, 3, 16, 24), random_text(3)
    logits_of(network, image, text)
    for change in changes:
        change(network, image, text)
        expected = afresh(network, image, text)
        assert torch.equal(logits_of(network, image, text), expected)
        assert torch.equal(logits_of(network, image, text), expected)  # now from what was kept


def test_evaluation_computes_positions_and_prompts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, calls = build_network(), []
    resize = torch.nn.functional.interpolate
    monkeypatch.setattr(
        "cascade_clip.model.embedding.F.interpolate",
        lambda *args, **kwargs: calls.append("positions") or resize(*args, **kwargs),
    )
    network.encoder.prompts.projection.register_forward_hook(lambda *_: calls.append("prompts"))
    image, text = torch.randn(1, 3, 16, 24), random_text(3)
    for _ in range(3):
        logits_of(network, image, text)
    assert sorted(calls) == ["positions", "prompts"]
    network.train()
    for _ in range(2):
        logits_of(network, image, text)
    assert calls.count("prompts") == 3
