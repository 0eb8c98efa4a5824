"""The benchmark of token merging computes the network it measures."""

from __future__ import annotations

import torch
from benchmarks.performance.subjects import SHAPES, build_network, random_pictures, random_text
from benchmarks.token_merging import MergedNetwork, Merging, merge, targets

CPU = torch.device("cpu")


@torch.inference_mode()
def test_nothing_merged_is_the_plain_network() -> None:
    shape = SHAPES["tiny"]
    network = build_network(shape, CPU)
    pictures, text = random_pictures(2, (64, 48), CPU), random_text(shape, 5, CPU)
    merged = MergedNetwork(network, Merging("pairs", (), 0.0)).eval()
    expected = network(pictures, text).mask_logits
    torch.testing.assert_close(merged(pictures, text).mask_logits, expected)


def test_tokens_alike_merge_into_their_mean() -> None:
    """Patches of a 2 x 4 grid, of which two in each square or pair are alike."""
    torch.manual_seed(0)
    a, b = torch.randn(2, 6)
    others = torch.randn(4, 6)
    tokens = torch.stack([torch.ones(6), a, 3 * a, others[0], others[1], b, b, *others[2:]])[None]
    size = torch.tensor([[1.0, 3, 1, 1, 1, 1, 1, 1, 1]])
    means, sizes, group = merge(tokens, size, targets("pairs", tokens, (2, 4), 2))
    assert sizes.tolist() == [[1, 4, 1, 1, 2, 1, 1]]
    torch.testing.assert_close(means[0, 1], 1.5 * a)
    assert group.tolist() == [[0, 1, 1, 2, 3, 4, 4, 5, 6]]


def test_a_square_merges_whole() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(1, 9, 6)
    tokens[:, [3, 4, 7, 8]] = tokens[:, 3:4].clone()  # the right half of a 2 x 4 grid
    assert targets("squares", tokens, (2, 4), 3).tolist() == [[0, 1, 2, 3, 3, 5, 6, 3, 3]]
