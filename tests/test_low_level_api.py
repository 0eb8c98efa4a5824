"""What `docs/low-level-api.md` promises."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import cascade_clip
from cascade_clip.checkpoint.released.convert import to_folder
from cascade_clip.config import LossSettings
from cascade_clip.losses.segmentation import SegmentationLoss
from cascade_clip.model.network import SegmentationNetwork
from tests.golden.cases import DATA


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SegmentationNetwork:
    folder = tmp_path_factory.mktemp("converted") / "model"
    to_folder(DATA / "cascade_small.pth", folder)
    return cascade_clip.load_model(folder)


def test_shapes_and_norms_on_a_grid_that_is_not_square(model: SegmentationNetwork) -> None:
    text = F.normalize(torch.randn(5, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    with torch.no_grad():
        out = model(torch.zeros(2, 3, 48, 80), text)
    assert not model.training
    assert out.mask_logits.shape == (2, 5, 3, 5)
    assert out.levels.grid == (3, 5)
    assert out.levels.blocks == (6, 7, 8, 9, 10, 11, 12)
    assert [tuple(feature.shape) for feature in out.levels.features] == [(2, 15, 16)] * 7
    assert out.levels.global_embedding.shape == (2, 16)
    torch.testing.assert_close(out.mask_logits, sum(out.stage_logits))
    for unit in (*out.levels.features, out.levels.global_embedding):
        torch.testing.assert_close(unit.norm(dim=-1), torch.ones(unit.shape[:-1]))


def test_the_loss_takes_logits_at_low_resolution(model: SegmentationNetwork) -> None:
    text = F.normalize(torch.randn(3, 16, generator=torch.Generator().manual_seed(1)), dim=-1)
    out = model(torch.zeros(1, 3, 32, 32), text)
    labels = torch.full((1, 32, 32), 255)
    labels[:, :16] = 1
    terms = SegmentationLoss(LossSettings())(out.mask_logits, labels)
    torch.testing.assert_close(terms.total, terms.focal + terms.dice)
    assert terms.ssim == 0
    terms.total.backward()
    for name, parameter in model.trained_parameters().items():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all()
