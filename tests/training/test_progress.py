from __future__ import annotations

import pytest

from cascade_clip.training.progress import Pace, clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (130, "2:10"), (3730, "1:02:10"),
        (90_061, "1d 01:01:01"),
    ],
)  # fmt: skip
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_elapsed_and_left_are_named() -> None:
    pace = Pace(total=300, done=0, now=100.0)
    assert str(pace) == "0/300 steps  0:00 elapsed"
    pace.update(1, 110.0)  # the first step takes long and doesn't count for what is left
    assert str(pace) == "1/300 steps  0.1/s  0:10 elapsed"
    for step in range(2, 101):
        pace.update(step, 110.0 + (step - 1) / 2)
    assert str(pace) == "100/300 steps  2/s  1:00 elapsed, 1:40 left"


def test_a_resumed_run_is_not_credited_with_earlier_steps() -> None:
    pace = Pace(total=1000, done=900, now=0.0)
    pace.update(901, 1.0)
    pace.update(911, 11.0)
    assert pace.seconds_left == pytest.approx(89.0)
    assert pace.steps_per_second == pytest.approx(1.0)


def test_a_long_validation_counts_for_the_time_left_but_soon_not_for_the_speed() -> None:
    pace = Pace(total=200, done=0, now=0.0)
    for step in range(101):
        pace.update(step, float(step))
    for step in range(101, 151):
        pace.update(step, float(step) + 100.0)
    assert pace.steps_per_second == pytest.approx(1.0)
    assert pace.seconds_left == pytest.approx(50 / (150 / 250))
