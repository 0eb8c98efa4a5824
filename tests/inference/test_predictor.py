"""Plans of pictures: at which size they go through the network, and in which windows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cascade_clip.config import IMAGENET, InferenceSettings
from cascade_clip.errors import UserError
from cascade_clip.inference.predictor import WINDOW_BATCH, Predictor
from cascade_clip.inference.windows import windows


def build_predictor(max_windows: int = 64, **settings: Any) -> Predictor:
    network: Any = SimpleNamespace(patch_size=(8, 8))
    inference = InferenceSettings(**settings)
    return Predictor(network, inference, IMAGENET, torch.device("cpu"), max_windows)


@given(
    st.integers(1, 16_384),
    st.integers(1, 16_384),
    st.integers(16, 600),
    st.floats(0.3, 1.0),
    st.integers(1, 3),
    st.integers(1, 80),
)
def test_pictures_are_shrunk_no_further_than_their_windows_ask(
    height: int, width: int, crop: int, share: float, shifts: int, most: int
) -> None:
    stride = max(1, int(crop * share))
    predictor = build_predictor(
        most, short_side=min(height, width), crop=crop, stride=stride, shifts=shifts
    )

    def count(size: tuple[int, int]) -> int:
        return len(windows(size, crop, stride, shifts, (8, 8)).origins)

    plan = predictor.plan((height, width))
    size = plan.size
    assert plan.windows == windows(size, crop, stride, shifts, (8, 8))
    assert count(size) <= most
    if size == (height, width):
        assert plan.note is None
    else:
        long_side = max(size) + 1
        larger = [max(1, side * long_side // max(height, width)) for side in (height, width)]
        assert count((larger[0], larger[1])) > most


def test_long_pictures_keep_the_windows_they_may_have() -> None:
    predictor = build_predictor(short_side=148, crop=144, stride=96, shifts=2)
    assert predictor.plan((200, 1200)).size == (148, 888)
    assert predictor.plan((1, 10**8)).size[0] >= 1
    with pytest.raises(UserError, match="max_windows"):
        build_predictor(max_windows=0)


def test_a_plan_is_made_once_for_a_size_and_anew_for_other_settings() -> None:
    predictor = build_predictor(short_side=64, crop=64, stride=64)
    plan = predictor.plan((64, 80))
    assert predictor.plan((64, 80)) is plan
    predictor.settings = predictor.settings.model_copy(update={"short_side": 128})
    assert predictor.plan((64, 80)).size == (128, 160)


def test_pictures_of_one_size_share_passes_up_to_a_number_of_windows() -> None:
    predictor = build_predictor(short_side=64, crop=64, stride=64)
    one, four = (64, 64), (64, 256)
    sizes = [one, four] * WINDOW_BATCH + [one]
    singles, wide = list(range(0, len(sizes), 2)), list(range(1, len(sizes), 2))
    together = WINDOW_BATCH // 4
    assert list(predictor.passes(sizes)) == [
        singles[:WINDOW_BATCH],
        singles[WINDOW_BATCH:],
        *(wide[start : start + together] for start in range(0, WINDOW_BATCH, together)),
    ]
    more = (64, 64 * (WINDOW_BATCH + 1))  # more windows than a pass holds: one by one
    assert list(predictor.passes([more, more])) == [[0], [1]]
