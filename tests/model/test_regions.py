"""Region tokens: what they see, where they start, and what they leave as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cascade_clip.config.recipes import parse_recipe
from cascade_clip.errors import UserError
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.model.prompts import Regions
from tests.model.build import build_network, build_settings, build_visual, random_text
from tests.naive.network import NaiveSizes, attention_bias, naive_forward

REGIONS = {"prompts": 2, "regions": 2}


@pytest.mark.parametrize("prompts", [0, 3])
@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("grid", [(4, 4), (3, 7), (1, 2)])
def test_the_mask_is_what_its_definition_says(
    grid: tuple[int, int], side: int, prompts: int
) -> None:
    mask = Regions(side, torch.zeros(5)).attention_mask(grid, prompts)
    order = [0, *range(1 + prompts, len(mask)), *range(1, 1 + prompts)]  # ours has prompts last
    expected = attention_bias(side, prompts, grid)[order][:, order] == 0
    assert torch.equal(mask, expected)


def test_cells_of_the_published_grid_are_squares_of_8_patches() -> None:
    cells = Regions(4, torch.zeros(5)).cells((32, 32)).reshape(32, 32)
    assert torch.equal(cells, torch.arange(16).reshape(4, 4).kron(torch.ones(8, 8).long()))


def test_regions_are_frozen_and_start_as_the_class_token() -> None:
    visual: Any = build_visual()
    network = SegmentationNetwork(visual, build_settings(REGIONS))
    start = visual.class_embedding + visual.positional_embedding[0]
    assert torch.equal(network.encoder.regions.tokens, start.expand(4, -1))
    assert "encoder.regions.tokens" in network.adapter_state_dict()
    assert "encoder.regions.tokens" not in network.trained_parameters()


def test_regions_that_differ_equal_the_naive_twin() -> None:
    torch.manual_seed(0)
    network = build_network(build_settings(REGIONS))
    network.encoder.regions.tokens.normal_()
    image, text = torch.randn(2, 3, 24, 40), random_text(3)
    sizes = NaiveSizes(3, tuple(network.encoder.visual.grid_size), quick_gelu=True)
    with torch.no_grad():
        levels = network(image, text).levels
        slow = naive_forward(network.state_dict(), network.settings, sizes, image, text)
    for block, own in zip(levels.blocks, levels.regions, strict=True):
        assert own.shape == (2, 4, 16) and (own[:, 0] - own[:, 1]).abs().max() > 1e-2
        torch.testing.assert_close(own, slow.regions[block], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tuning", ["spectral-prompts", "relationship-prompts"])
def test_prompts_made_of_all_tokens_are_refused_beside_regions(tuning: str) -> None:
    encoder = {"tuning": tuning, "regions": 4}
    with pytest.raises(UserError, match=f"{tuning} are made .* set regions to null"):
        parse_recipe({"name": "both", "model": {"encoder": encoder}})


def test_a_head_that_reads_regions_says_where_they_are_missing() -> None:
    with pytest.raises(UserError, match=r"'clip-rc' reads region tokens; set model\.encoder\.reg"):
        parse_recipe({"name": "none", "model": {"head": {"kind": "clip-rc"}}})
