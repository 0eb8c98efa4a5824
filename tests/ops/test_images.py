"""Sizes and resizing: worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.naive import augment as naive
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as torchvision

from cascade_clip.ops.images import resize_bilinear, resize_nearest, scaled_size


def test_short_side_keeps_the_ratio_to_the_nearest_pixel() -> None:
    assert scaled_size((375, 500), 512) == [512, 683]
    assert scaled_size((500, 375), 512) == [683, 512]
    assert scaled_size((10, 10), 5) == [5, 5]


@pytest.mark.parametrize(
    ("size", "sides", "expected"),
    [
        ((375, 500), (512, 2048), [512, 683]),  # 500 * 512 / 375 = 682.67
        ((375, 500), (256, 1024), [256, 341]),  # 341.33
        ((333, 500), (767, 3071), [767, 1152]),  # 1151.65
        ((500, 4000), (512, 2048), [256, 2048]),  # the long side binds
        ((4000, 500), (512, 2048), [2048, 256]),
        ((1, 9999), (512, 2048), [1, 2048]),  # never without pixels
    ],
)
def test_scaled_sizes(size: tuple[int, int], sides: tuple[int, int], expected: list[int]) -> None:
    assert scaled_size(size, *sides) == expected


def test_bilinear_without_antialiasing() -> None:
    # Halving 4 pixels samples midway between pixels 0, 1 and 2, 3: their means, nothing wider.
    row = torch.tensor([0, 100, 200, 40], dtype=torch.uint8).expand(3, 4, 4)
    assert resize_bilinear(row, [2, 2])[0, 0].tolist() == [50, 120]


@pytest.mark.parametrize("size", [(64, 64), (20, 131), (177, 90)])
def test_bilinear_equals_its_naive_twin_in_both_layouts(size: tuple[int, int]) -> None:
    array = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    expected = naive.to_bytes(naive.resize_bilinear(array, size)).astype(int)
    channels_last = torch.from_numpy(array).permute(2, 0, 1)
    results = [resize_bilinear(x, list(size)) for x in (channels_last, channels_last.contiguous())]
    assert torch.equal(*results)
    assert np.abs(results[0].permute(1, 2, 0).numpy() - expected).max() <= 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(61, 83, 3), (1, 61, 83, 3), (2, 61, 83, 3)])
def test_bilinear_equals_torchvision_in_numbers_and_layout(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    channels_last = torch.randint(0, 256, shape, generator=generator).to(dtype).movedim(-1, -3)
    for images in (channels_last, channels_last.contiguous()):
        expected = torchvision.resize(
            images, [20, 131], InterpolationMode.BILINEAR, antialias=False
        )
        resized = resize_bilinear(images, [20, 131])
        assert torch.equal(resized, expected) and resized.dtype == dtype
        assert resized.stride() == expected.stride()


def test_bytes_are_rounded_where_torch_has_no_fast_kernel_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = torch.randint(0, 256, (2, 3, 61, 83), dtype=torch.uint8)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    expected = torchvision.resize(images, [20, 131], InterpolationMode.BILINEAR, antialias=False)
    assert torch.equal(resize_bilinear(images, [20, 131]), expected)


def test_nearest_takes_the_top_left_pixel() -> None:
    row = torch.tensor([[0, 1, 2, 3, 4]])
    assert resize_nearest(row, [1, 3]).tolist() == [[0, 1, 3]]  # 0, 5/3, 10/3
    assert resize_nearest(row, [2, 8]).tolist() == [[0, 0, 1, 1, 2, 3, 3, 4]] * 2
