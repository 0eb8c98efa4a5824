"""Softmax scores equal the definition, which holds all names at full size."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.inference import refine as refining
from cascade_clip.inference.refine import Pamr, strips
from cascade_clip.inference.scores import WindowLogits
from cascade_clip.inference.sliding import sliding_best, sliding_scores
from cascade_clip.inference.windows import windows
from tests.inference.test_sliding import PATCH, Patchwise, draw


def naive_softmax(logits: Tensor, places: Any, picture: Any, output: Any, scale: float) -> Tensor:
    """Cosines (windows, K, h, w) to probabilities (K, H0, W0)."""
    total, count = logits.new_zeros(logits.shape[1], *picture), logits.new_zeros(picture)
    height, width = places.size
    for window, (top, left) in zip(logits, places.origins, strict=True):
        upsampled = F.interpolate(window[None], size=(height, width), mode="bilinear")[0]
        total[:, top : top + height, left : left + width] += upsampled
        count[top : top + height, left : left + width] += 1
    resized = F.interpolate((total / count)[None], size=output, mode="bilinear")[0]
    return (scale * resized).softmax(dim=0)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(8, 150), st.integers(8, 150)),
    output=st.tuples(st.integers(1, 150), st.integers(1, 150)),
    names=st.integers(1, 40),
    with_offsets=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equals_the_definition(
    size: tuple[int, int], output: tuple[int, int], names: int, with_offsets: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    places = windows(size, 64, 40)
    # In float64: in float32 the places between pixels, and so the scores, are rounded.
    logits = torch.randn(len(places.origins), 1, names, 4, 5, generator=generator).double()
    offsets = torch.rand(names, generator=generator).double() - 0.5
    offsets = offsets if with_offsets else torch.zeros_like(offsets)
    predicted = WindowLogits(
        logits, places, size, places.size, None, output, offsets, logit_scale=3.0
    )
    expected = naive_softmax(logits[:, 0], places, size, output, 3.0) + offsets[:, None, None]
    (first, scores), *rest = predicted.scores(0)
    assert (first, rest) == (0, [])
    torch.testing.assert_close(scores, expected, atol=1e-9, rtol=0)
    best = predicted.best(0)
    torch.testing.assert_close(best.scores, expected.amax(dim=0), atol=1e-9, rtol=0)
    chosen = expected.gather(0, best.labels[None])[0]
    torch.testing.assert_close(chosen, expected.amax(dim=0), atol=1e-9, rtol=0)


def test_scores_of_pictures_are_averaged_before_the_softmax() -> None:
    image, text = draw(2, (20, 31), 5, 1)
    options: dict[str, Any] = {"crop": 16, "stride": 9, "output_size": (33, 20)}
    scores = sliding_scores(Patchwise(), image, text, logit_scale=2.0, **options)
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(2, 33, 20))
    labels, best = sliding_best(Patchwise(), image, text, logit_scale=2.0, **options)
    assert torch.equal(labels, scores.argmax(dim=1))
    torch.testing.assert_close(best, scores.amax(dim=1))


def test_remainders_of_windows() -> None:
    """With `cut` the network sees whole patches alone, with `squeeze` zeros behind the picture; in
    both its map is stretched over the whole window."""
    image, text = draw(1, (18, 23), 3, 2)
    options: dict[str, Any] = {"crop": 64, "stride": 64, "output_size": (18, 23)}
    for remainder, shown in (
        ("cut", image[:, :, :16, :20]),
        ("squeeze", F.pad(image, (0, 1, 0, 2))),
        ("pad", F.pad(image, (0, 1, 0, 2), mode="replicate")),
    ):
        logits = Patchwise()(shown, text).mask_logits
        covered = (20, 24) if remainder == "pad" else (18, 23)
        maps = F.interpolate(logits, size=covered, mode="bilinear")[:, :, :18, :23]
        scores = sliding_scores(
            Patchwise(), image, text, logit_scale=1.0, remainder=remainder, **options
        )
        torch.testing.assert_close(scores, maps.softmax(dim=1))


def test_a_window_smaller_than_a_patch_is_filled_up() -> None:
    image, text = draw(1, (PATCH - 1, 9), 3, 2)
    options: dict[str, Any] = {"crop": 64, "stride": 64, "output_size": (3, 9)}
    for remainder in ("cut", "squeeze", "pad"):
        scores = sliding_scores(
            Patchwise(), image, text, logit_scale=1.0, remainder=remainder, **options
        )
        assert scores.shape == (1, 3, 3, 9)


def naive_pamr(image: Tensor, maps: Tensor, iterations: int, dilations: tuple[int, ...]) -> Tensor:
    height, width = maps.shape[1:]

    def neighbours(values: Tensor, row: int, column: int) -> list[Tensor]:
        return [
            values[:, min(max(row + y, 0), height - 1), min(max(column + x, 0), width - 1)]
            for d in dilations
            for y in (-d, 0, d)
            for x in (-d, 0, d)
        ]

    around = [9 * i + 4 for i in range(len(dilations))]  # where the pixel itself is
    for _ in range(iterations):
        refined = torch.zeros_like(maps)
        for row in range(height):
            for column in range(width):
                seen = torch.stack(neighbours(image, row, column))  # (9 D, 3)
                deviation = seen.std(dim=0)
                unlike = (seen - image[:, row, column]).abs() / (1e-8 + 0.1 * deviation)
                affinity = -unlike.mean(dim=1)
                affinity[around] = -torch.inf
                weights = affinity.softmax(dim=0)
                values = torch.stack(neighbours(maps, row, column))  # (9 D, k)
                refined[:, row, column] = weights @ values
        maps = refined
    return maps


def test_pamr_equals_its_naive_twin() -> None:
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(3, 9, 13, generator=generator)
    maps = torch.randn(2, 9, 13, generator=generator)
    expected = naive_pamr(image, maps, 3, (1, 3))
    torch.testing.assert_close(Pamr(image, 3, (1, 3))(maps), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        Pamr(200 * image + 7, 3, (1, 3))(maps), expected, atol=1e-4, rtol=1e-4
    )


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 3000), width=st.integers(1, 16_384))
def test_strips_cover_the_picture_and_see_what_reaches_them(height: int, width: int) -> None:
    reach = refining.ITERATIONS * max(refining.DILATIONS)
    row = 0
    for strip in strips(height, width):
        assert strip.output.start == row < strip.output.stop <= height
        row = strip.output.stop
        assert strip.seen.start in (0, strip.output.start - reach)
        assert strip.seen.stop in (height, strip.output.stop + reach)
        assert strip.kept.start == strip.output.start - strip.seen.start
        assert strip.kept.stop - strip.kept.start == strip.output.stop - strip.output.start
    assert row == height


def test_refined_strips_equal_the_whole_picture() -> None:
    generator = torch.Generator().manual_seed(4)
    places = windows((400, 24), 64, 64)
    predicted = WindowLogits(
        torch.randn(len(places.origins), 1, 3, 4, 2, generator=generator),
        places, (400, 24), (64, 24), None, (400, 24), torch.zeros(3), logit_scale=2.0,
        guides=torch.rand(1, 3, 400, 24, generator=generator),
    )  # fmt: skip
    ((_, whole),) = predicted.scores(0)
    with mock.patch.object(refining, "STRIP_WEIGHTS", 0):
        assert len(list(strips(400, 24))) == 7
        ((_, in_strips),) = predicted.scores(0)
    torch.testing.assert_close(in_strips, whole)
