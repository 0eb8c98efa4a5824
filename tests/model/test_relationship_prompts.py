"""Relationship prompts on other grids, and what they need."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from cascade_clip.errors import UserError
from cascade_clip.model.prompts import RelationshipPrompts
from tests.model.build import build_network, build_settings, random_text

TUNING = {"tuning": "relationship-prompts", "prompts": 2}


def embeddings(patches: int) -> torch.Tensor:
    return F.normalize(torch.randn(2, 1 + patches, 8), dim=-1)


def test_weights_are_those_of_the_reference_grid_there() -> None:
    module = RelationshipPrompts(6, (4, 4), (3, 5))
    assert torch.equal(module.weights_on(module.weights, (3, 5)), module.weights)
    found, text = embeddings(15), torch.randn(4, 8)
    matches = torch.einsum("bnd,cd,bd->bcn", found[:, 1:], text, found[:, 0])
    expected = torch.einsum("bcn,nw->bcw", matches, module.weights)
    torch.testing.assert_close(module(found, text, (3, 5)), expected)


@pytest.mark.parametrize("grid", [(6, 10), (2, 3), (1, 7), (7, 1)])
def test_sums_over_the_patches_keep_their_size_on_every_grid(grid: tuple[int, int]) -> None:
    module = RelationshipPrompts(6, (4, 4), (3, 5))
    with torch.no_grad():
        module.weights.copy_(torch.randn(6).expand(15, 6))  # a map without structure
    class_token = F.normalize(torch.randn(2, 1, 8), dim=-1)
    patch, text = torch.randn(2, 1, 8), torch.randn(4, 8)
    on_reference = module(torch.cat([class_token, patch.expand(-1, 15, -1)], dim=1), text, (3, 5))
    count = grid[0] * grid[1]
    found = module(torch.cat([class_token, patch.expand(-1, count, -1)], dim=1), text, grid)
    torch.testing.assert_close(found, on_reference)


def test_names_change_the_features_and_are_not_remembered() -> None:
    torch.manual_seed(0)
    network = build_network(build_settings(TUNING))
    image, text = torch.randn(1, 3, 24, 32), random_text(5)
    with torch.no_grad():
        first = network(image, text)
        fewer = network(image, text[:3])
        again = network(image, text)
    assert (first.levels.features[-1] - fewer.levels.features[-1]).abs().max() > 1e-4
    assert torch.equal(first.mask_logits, again.mask_logits)


def test_what_they_need_is_said() -> None:
    network = build_network(build_settings(TUNING))
    with pytest.raises(UserError, match="one text embedding a class, got 2"):
        network(torch.randn(1, 3, 16, 16), random_text(6).reshape(3, 2, -1))
    with pytest.raises(ValueError, match="need the text embeddings"):
        network.encoder(torch.randn(1, 3, 16, 16))
