"""Attention head by head against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from cascade_clip.model.fast import attention
from cascade_clip.model.fast.attention import attend, attend_head_by_head


@pytest.mark.parametrize("rows", [4, 100])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-12), (torch.bfloat16, 2e-2)])
def test_head_by_head_equals_pytorch(
    dtype: torch.dtype, tolerance: float, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "ROWS", rows)
    torch.manual_seed(0)
    query, both = torch.randn(2, 3, 10, 8), torch.randn(2, 7, 2 * 3 * 8)
    key, value = (part.unflatten(-1, (3, 8)).transpose(1, 2) for part in both.chunk(2, dim=-1))
    mask = torch.rand(10, 7) < 0.5
    mask[:, 3] = True
    added = torch.randn(2, 1, 1, 7)  # for all heads and queries of a picture
    for allowed in (None, mask, added):
        expected = F.scaled_dot_product_attention(query, key, value, allowed)
        actual = attend_head_by_head(query.to(dtype), key.to(dtype), value.to(dtype), allowed)
        torch.testing.assert_close(actual.float(), expected, rtol=0, atol=max(tolerance, 1e-6))


def test_gradients_flow_whatever_the_size() -> None:
    query, key, value = (
        torch.randn(1, 1, 300, 8, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)
    )
    attend(query, key, value).float().square().sum().backward()
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in (query, key, value))


def test_large_inputs_in_lower_precision_stay_near() -> None:
    torch.manual_seed(0)
    parts = [torch.randn(1, 2, 300, 16) for _ in range(3)]
    expected = F.scaled_dot_product_attention(*parts)
    with torch.no_grad():
        actual = attend(*(part.bfloat16() for part in parts))
    torch.testing.assert_close(actual.float(), expected, rtol=0, atol=2e-2)
