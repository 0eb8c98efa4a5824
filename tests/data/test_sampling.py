"""Batches depend on seed and step alone."""

from __future__ import annotations

from itertools import islice

import torch
from hypothesis import given
from hypothesis import strategies as st

from cascade_clip.data.sampling import InOrder, Shuffle, StepBatches, derive_seed, seeded


def test_each_epoch_shows_every_item_once_in_its_own_order() -> None:
    order = Shuffle(10, seed=3)
    epochs = [[order[10 * epoch + i] for i in range(10)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert [Shuffle(10, seed=4)[i] for i in range(10)] != epochs[0]


def test_order_does_not_depend_on_what_was_asked_before() -> None:
    order = Shuffle(7, seed=0)
    forwards = [order[i] for i in range(30)]
    assert [Shuffle(7, seed=0)[i] for i in reversed(range(30))][::-1] == forwards


def test_onwards() -> None:
    assert [InOrder(5)[i] for i in range(3)] == [5, 6, 7]


@given(share=st.integers(1, 4), world=st.integers(1, 3), first=st.integers(0, 5))
def test_all_processes_together_see_the_same_steps_as_one(
    share: int, world: int, first: int
) -> None:
    size = share * world
    seen: dict[int, list[int]] = {step: [] for step in range(first, first + 2)}
    for rank in range(world):
        batches = StepBatches(size, first, rank, world)
        for number, batch in enumerate(islice(batches, 2)):
            assert len(batch) == share
            seen[first + number] += batch
    for step, positions in seen.items():
        assert sorted(positions) == list(range(step * size, (step + 1) * size))


def test_starting_later_is_the_same_stream() -> None:
    whole = list(islice(StepBatches(4), 5))
    assert list(islice(StepBatches(4, first_step=3), 2)) == whole[3:]


def test_seeded_draws_repeat_and_leave_the_outside_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with seeded(1, 2):
        inside = torch.rand(1)
    assert torch.equal(torch.rand(2), expected)
    with seeded(1, 2):
        assert torch.equal(torch.rand(1), inside)
    with seeded(2, 1):
        assert not torch.equal(torch.rand(1), inside)


def test_derived_seeds_are_fixed_for_all_time() -> None:
    assert derive_seed(0, 0) != derive_seed(0, 1) != derive_seed(1, 0)
    assert 0 <= derive_seed(7, 8, 9) < 2**63
    assert derive_seed(7, 8, 9) == 540227594724300839
