from __future__ import annotations

from cascade_clip.analysis.ablation.verdict import Agreement, Measured, agreement, verdict

STEADY = (0.0, 0.1, -0.1)


def rows(*pairs: tuple[float, float | None]) -> list[Measured]:
    return [
        Measured(f"v{index}", tuple(mean + noise for noise in STEADY), published)
        for index, (mean, published) in enumerate(pairs)
    ]


def test_mean_and_spread_over_seeds() -> None:
    measured = Measured("a", (70.0, 72.0, 74.0), None)
    assert (measured.mean, measured.spread) == (72.0, 2.0)
    assert Measured("a", (70.0,), None).spread == 0.0


def test_same_order_by_more_than_the_spread() -> None:
    found = rows((70, 40), (71, 41), (72, 42))
    assert agreement(found) == Agreement(pairs=3, same=3, clear_same=3, clear_opposite=0)
    assert verdict(found) == (
        "Pairs in the published order: 3 of 3 (3 by more than the spread over seeds); reversed by "
        "more than it: 0."
    )


def test_reversed_order() -> None:
    found = rows((72, 40), (71, 41))
    assert agreement(found) == Agreement(pairs=1, same=0, clear_same=0, clear_opposite=1)


def test_differences_within_the_spread_settle_nothing() -> None:
    found = rows((70, 40), (70.05, 41), (70.08, 42))
    assert agreement(found) == Agreement(pairs=3, same=3, clear_same=0, clear_opposite=0)
    found = rows((70.05, 40), (70, 41))
    assert agreement(found) == Agreement(pairs=1, same=0, clear_same=0, clear_opposite=0)


def test_one_seed_is_never_clear() -> None:
    found = [Measured("a", (70.0,), 40.0), Measured("b", (75.0,), 41.0)]
    assert agreement(found) == Agreement(pairs=1, same=1, clear_same=0, clear_opposite=0)


def test_ties_and_unpublished_rows_are_not_ranked() -> None:
    found = rows((70, 41.5), (71, 41.5), (72, None))
    assert agreement(found).pairs == 0 and verdict(found) == ""
