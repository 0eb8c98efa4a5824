"""Photometric distortion: what is drawn, and what it does, against the formulas in NumPy."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision import tv_tensors

from cascade_clip.data.photometric import Distortion, PhotometricDistortion, distort
from tests.naive import augment as naive


def all_kinds_of_colours() -> Tensor:
    """(3, 37, 64): random ones, greys, primaries and their neighbours."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (37 * 64, 3))
    colours[:600] = rng.choice([0, 1, 127, 128, 254, 255], (600, 3))
    colours[600:700] = rng.integers(0, 256, (100, 1))
    return torch.from_numpy(colours.astype(np.uint8)).T.reshape(3, 37, 64)


def naive_twin(image: Tensor, distortion: Distortion) -> np.ndarray:
    *others, hue = astuple(distortion)
    return np.moveaxis(naive.distort(np.moveaxis(image.numpy(), 0, -1), *others, 2 * hue), -1, 0)


@settings(max_examples=80, deadline=None)
@given(
    st.builds(
        Distortion,
        brightness=st.floats(-32, 32),
        contrast=st.floats(0.5, 1.5),
        contrast_first=st.booleans(),
        saturation=st.floats(0.5, 1.5),
        hue=st.integers(-18, 18),
    )
)
def test_equals_its_naive_twin(distortion: Distortion) -> None:
    image = all_kinds_of_colours()
    difference = distort(image, distortion).numpy().astype(int) - naive_twin(image, distortion)
    assert np.abs(difference).max() <= 1
    assert np.abs(difference).mean() < 0.1  # halves may be rounded either way


@pytest.mark.parametrize(
    ("distortion", "before", "after"),
    [
        (Distortion(brightness=20), (10, 100, 250), (30, 120, 255)),
        (Distortion(brightness=-20), (10, 100, 250), (0, 80, 230)),
        (Distortion(contrast=1.5), (10, 100, 250), (15, 150, 255)),
        # Once clipped, always clipped: contrast after brightness.
        (Distortion(brightness=32, contrast=0.5), (10, 100, 250), (21, 66, 128)),
        # Chroma doubles around the largest channel.
        (Distortion(saturation=1.5), (200, 180, 160), (200, 170, 140)),
        (Distortion(saturation=0.5), (200, 100, 0), (200, 150, 100)),
        # Saturation ends at 1.
        (Distortion(saturation=1.5), (200, 100, 20), (200, 89, 0)),
        # Red, 30 degrees on: halfway to yellow; 30 degrees back: halfway to magenta.
        (Distortion(hue=15), (200, 0, 0), (200, 100, 0)),
        (Distortion(hue=-15), (200, 0, 0), (200, 0, 100)),
        # Cyan by 36 degrees towards blue.
        (Distortion(hue=18), (50, 150, 150), (50, 90, 150)),
        (Distortion(hue=18, saturation=1.5), (77, 77, 77), (77, 77, 77)),
    ],
)
def test_worked_out_by_hand(
    distortion: Distortion, before: tuple[int, int, int], after: tuple[int, int, int]
) -> None:
    image = torch.tensor(before, dtype=torch.uint8).reshape(3, 1, 1).expand(3, 2, 70)
    assert distort(image, distortion)[:, 1, 69].tolist() == list(after)


def test_doing_nothing() -> None:
    image = all_kinds_of_colours()
    assert torch.equal(distort(image, Distortion(contrast_first=False)), image)


def test_each_of_the_four_is_drawn_in_half_of_the_pictures() -> None:
    torch.manual_seed(0)
    draws = [Distortion.draw() for _ in range(3000)]
    drawn = np.array(
        [(d.brightness != 0, d.contrast != 1, d.saturation != 1, d.hue != 0) for d in draws]
    )
    assert np.abs(drawn.mean(0) - [0.5, 0.5, 0.5, 0.5 * 35 / 36]).max() < 0.03
    assert np.abs(np.cov(drawn.T) - np.eye(4) / 4).max() < 0.02  # independently of each other
    assert abs(np.mean([d.contrast_first for d in draws]) - 0.5) < 0.03


def test_values_are_drawn_evenly() -> None:
    torch.manual_seed(0)
    draws = [Distortion.draw() for _ in range(3000)]
    ranges = {"brightness": (-32, 32, 0), "contrast": (0.5, 1.5, 1), "saturation": (0.5, 1.5, 1)}
    for name, (low, high, nothing) in ranges.items():
        values = np.array([getattr(d, name) for d in draws if getattr(d, name) != nothing])
        shares = np.sort((values - low) / (high - low))
        assert np.abs(shares - np.linspace(0, 1, len(shares))).max() < 0.05  # Kolmogorov-Smirnov
    hues = [d.hue for d in draws if d.hue]
    assert set(hues) == set(range(-18, 18)) - {0}  # as OpenCV's steps, without the upper end


def test_labels_stay_and_draws_depend_on_the_generator() -> None:
    image, mask = tv_tensors.Image(all_kinds_of_colours()), tv_tensors.Mask(torch.arange(9))
    outs = []
    for seed in (0, 0, 2):
        torch.manual_seed(seed)
        outs.append(PhotometricDistortion()(image, mask))
    assert torch.equal(outs[0][1], mask)
    assert torch.equal(outs[0][0], outs[1][0])
    assert not torch.equal(outs[0][0], outs[2][0])
