"""Token merging against loops, and against attention over all the copies."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model.build import build_visual
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.model.fast.blocks import fast_block
from cascade_clip.model.fast.merging import PatchMerging, merge_pairs


def merge_pairs_in_loops(patches: Tensor, sizes: Tensor, count: int) -> list[list[int]]:
    """Groups of the patches (M, D), those of every second one first that are kept."""
    odd, even = range(1, len(patches), 2), range(0, len(patches), 2)
    pairs = []
    for own in odd:
        similarity = [float(F.cosine_similarity(patches[own], patches[e], dim=0)) for e in even]
        best = max(similarity)
        pairs.append((best, own, even[similarity.index(best)]))
    pairs.sort(reverse=True)
    groups = {e: [e] for e in even}
    for _, own, partner in pairs[:count]:
        groups[partner].append(own)
    return [[own] for _, own, _ in pairs[count:]] + list(groups.values())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(2, 17), st.integers(1, 3), st.integers(0, 2**16), st.data())
def test_pairs_are_those_of_loops(length: int, batch: int, seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, length // 2))
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(batch, length, 5, generator=generator, dtype=torch.float64)
    sizes = torch.randint(1, 4, (batch, length), generator=generator).double()
    merged, new_sizes, places = merge_pairs(patches, sizes, count)
    assert merged.shape == (batch, length - count, 5)
    for picture in range(batch):
        groups = merge_pairs_in_loops(patches[picture], sizes[picture], count)
        for place, group in enumerate(groups):
            weights = sizes[picture, group]
            mean = (weights[:, None] * patches[picture, group]).sum(dim=0) / weights.sum()
            torch.testing.assert_close(merged[picture, place], mean)
            assert new_sizes[picture, place] == weights.sum()
            assert (places[picture, group] == place).all()


@pytest.mark.parametrize("prompts", [None, 3])
def test_a_block_sees_merged_patches_as_all_their_copies(prompts: int | None) -> None:
    torch.manual_seed(0)
    visual: torch.nn.Module = build_visual(depth=1).double()
    block = fast_block(visual.transformer.resblocks[0])  # type: ignore[index, union-attr]
    own = None if prompts is None else torch.randn(1, prompts, 24).double()
    merging = PatchMerging(0.2, depth=12)
    tokens = torch.randn(2, 1 + 20, 24).double()
    with torch.no_grad():
        for number in (2, 3):
            tokens = merging.after_block(number, tokens)
        assert tokens.shape[1] == 1 + 20 - 2 * 4
        few = block(tokens, own, merging.bias(prompts or 0))
        many = block(merging.all_tokens(tokens), own, None)
    assert many.shape[1] == 1 + 20
    torch.testing.assert_close(merging.all_tokens(few), many)
    torch.testing.assert_close(merging.copied(few[:, 1:]), many[:, 1:])


def test_without_a_share_nothing_happens() -> None:
    merging, tokens = PatchMerging(0.0, depth=12), torch.randn(1, 9, 4)
    for number in range(1, 13):
        assert merging.after_block(number, tokens) is tokens
    assert merging.bias(3) is None
    assert merging.all_tokens(tokens) is tokens and merging.copied(tokens) is tokens


@pytest.mark.parametrize("depth, blocks", [(12, {2, 3, 4, 5}), (24, {4, 6, 8, 10}), (3, {1})])
def test_blocks_that_merge_lie_at_the_same_relative_depth(depth: int, blocks: set[int]) -> None:
    assert PatchMerging(0.1, depth).merging_blocks == blocks


@pytest.mark.parametrize("patches", [1, 2, 3, 7, 20, 33])
def test_the_largest_share_fits_any_number_of_patches(patches: int) -> None:
    merging, tokens = PatchMerging(0.2, depth=12), torch.randn(1, 1 + patches, 4)
    for number in range(1, 13):
        tokens = merging.after_block(number, tokens)
    assert tokens.shape[1] == 1 + patches - 4 * int(0.2 * patches)
    assert merging.all_tokens(tokens).shape[1] == 1 + patches
