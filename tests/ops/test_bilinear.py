from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_clip.ops.bilinear import BilinearResize

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(max_examples=40, deadline=None)
@given(source=sizes, target=sizes, seed=st.integers(0, 99))
def test_equals_interpolate_and_its_gradient(
    source: tuple[int, int], target: tuple[int, int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(2, *source, generator=generator, dtype=torch.float64)
    gradient = torch.randn(2, *target, generator=generator, dtype=torch.float64)
    resize = BilinearResize.between(source, target, dtype=maps.dtype, device=maps.device)

    reference = maps.clone().requires_grad_()
    expected = F.interpolate(reference[None], size=target, mode="bilinear", align_corners=False)[0]
    (expected_gradient,) = torch.autograd.grad(expected, reference, gradient)
    torch.testing.assert_close(resize(maps), expected.detach())
    torch.testing.assert_close(resize.adjoint(gradient), expected_gradient)


def test_equals_interpolate_on_long_axes_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(1, 97, 2, generator=generator)
    resize = BilinearResize.between((97, 2), (4001, 3), dtype=maps.dtype, device=maps.device)
    expected = F.interpolate(maps[None], size=(4001, 3), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(resize(maps), expected, rtol=0, atol=1e-5)


def test_cut_computes_the_corner_only() -> None:
    maps = torch.arange(12.0).view(1, 3, 4)
    resize = BilinearResize.between((3, 4), (12, 16), dtype=maps.dtype, device=maps.device)
    assert torch.equal(resize.cut(5, 7)(maps), resize(maps)[:, :5, :7])
