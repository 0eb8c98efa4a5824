"""What the loss compiles on a GPU computes what it computes without."""

from __future__ import annotations

import pytest
import torch

from cascade_clip.losses.fused import Form, absent_terms, present_terms
from cascade_clip.ops.bilinear import BilinearResize


@pytest.mark.proof  # compiling takes a minute
@pytest.mark.parametrize("gamma", [2.0, 1.5])
def test_compiled_terms_equal_the_eager_ones(gamma: float) -> None:
    torch.manual_seed(0)
    resize = BilinearResize.between(
        (5, 4), (33, 29), dtype=torch.float32, device=torch.device("cpu")
    )
    absent = torch.compile(absent_terms, dynamic=True)
    present = torch.compile(present_terms, dynamic=True)
    for maps, gradients, stable in ((3, True, True), (7, True, True), (2, False, False)):
        form = Form(resize, alpha=0.25, gamma=gamma, gradients=gradients, stable=stable)
        logits = 5 * torch.randn(maps, 5, 4)
        positive = torch.rand(maps, 33, 29) < 0.3
        kept = logits.clone()
        expected = (absent_terms(logits, form), *present_terms(logits, positive, form))
        actual = (absent(logits, form), *present(logits, positive, form))
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(logits, kept)
