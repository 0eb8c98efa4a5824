"""Ruling classes out tile by tile must not change any label."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cascade_clip.inference import tiles
from cascade_clip.inference.sliding import sliding_best, sliding_scores
from tests.inference.test_sliding import PATCH, Patchwise, draw
from tests.naive import sliding as naive


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    tile=st.integers(1, 20),
    size=st.tuples(st.integers(4, 40), st.integers(4, 40)),
    crop=st.integers(9, 24),
    overlap=st.integers(0, 8),
    output=st.tuples(st.integers(1, 50), st.integers(1, 50)) | st.none(),
    logit_size=st.none() | st.tuples(st.integers(2, 24), st.integers(2, 24)),
    scale=st.sampled_from((0.01, 1.0, 100.0)),
    seed=st.integers(0, 99),
)
def test_labels_equal_the_naive_twin_for_any_tile(
    tile: int,
    size: tuple[int, int],
    crop: int,
    overlap: int,
    output: tuple[int, int] | None,
    logit_size: tuple[int, int] | None,
    scale: float,
    seed: int,
) -> None:
    image, text = draw(1, size, 9, seed)
    network, text = Patchwise(), scale * text
    options: dict[str, Any] = {
        "crop": crop,
        "stride": crop - overlap,
        "output_size": output or size,
        "offsets": torch.tensor([-0.1, -0.1, 0.0, 0.0, -0.1, 0.2, -0.1, 0.0, 0.0]),
        "logit_size": logit_size,
    }
    expected = naive.sliding_scores(
        lambda window: network(window, text).mask_logits, image, patch=PATCH, **options
    )
    with mock.patch.object(tiles, "TILE", tile):
        labels, best = sliding_best(network, image, text, **options)
    torch.testing.assert_close(best, expected.amax(1), rtol=0, atol=2e-5)
    top = expected.topk(2, dim=1).values
    clear = top[:, 0] - top[:, 1] > 2e-5
    assert torch.equal(labels[clear], expected.argmax(1)[clear])


class LargestTensor(TorchDispatchMode):
    """Notes the bytes of the largest tensor that is made."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self.size = max(self.size, tensor.untyped_storage().nbytes())
        return made


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    short=st.integers(1, 3),
    long=st.integers(10_000, 60_000),
    shrunk_to=st.integers(200, 600),
    upright=st.booleans(),
)
def test_long_narrow_pictures_take_no_memory_beyond_their_pixels(
    short: int, long: int, shrunk_to: int, upright: bool
) -> None:
    turn = slice(None, None, -1 if upright else 1)
    size, output = (short, shrunk_to)[turn], (short, long)[turn]
    image, text = draw(1, (size[0], size[1]), 4, seed=0)
    options: dict[str, Any] = {"crop": 64, "stride": 64, "output_size": (output[0], output[1])}
    with LargestTensor() as largest:
        labels, best = sliding_best(Patchwise(), image, text, **options)
    assert largest.size <= 2**20 + 8 * labels.numel()  # the labels are 8 bytes each
    scores = sliding_scores(Patchwise(), image, text, **options)[0]
    torch.testing.assert_close(best[0], scores.amax(0), rtol=0, atol=2e-5)


def test_of_equal_scores_the_first_class_wins() -> None:
    image, text = draw(1, (20, 20), 4, seed=0)
    twins = torch.cat([text, text])
    options: dict[str, Any] = {"crop": 20, "stride": 20, "output_size": (33, 20)}
    with mock.patch.object(tiles, "TILE", 8):
        labels = sliding_best(Patchwise(), image, twins, **options)[0]
    assert set(labels.unique().tolist()) <= {0, 1, 2, 3}


@pytest.mark.parametrize(("offset", "left"), [(0.0, 2), (-0.6, 1)])
def test_only_classes_that_may_win_are_computed(offset: float, left: int) -> None:
    axis = tiles.Axis(
        output=64, picture=64, starts=(0,), window=64, padded=64, patches=4, upsampled=None
    )
    (span,) = tiles.tile_spans(axis, 64, dtype=torch.float32, device=torch.device("cpu"))
    logits = torch.full((1, 100, 4, 4), -3.0)
    logits[0, 7], logits[0, 42, :2] = 1.0, 2.0
    offsets = torch.zeros(100)
    offsets[42] = offset
    contenders = tiles.Tile(logits, offsets, span, span, 1).contenders().tolist()
    assert contenders == [7, 42][:left]
