"""CLIP-RC's head: what it keeps in memory, and what it learns from besides the masks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cascade_clip.model.decoder import IDENTITY_LOGIT_SCALE
from cascade_clip.model.network import SegmentationNetwork
from tests.model.build import build_network, build_settings, build_visual, random_text

ENCODER = {"prompts": 2, "regions": 2}


class Largest(TorchDispatchMode):
    """Counts the elements of the largest tensor that an operation gives."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.elements = max([self.elements, *(tensor.numel() for tensor in tensors)])
        return result


def test_nothing_as_large_as_a_map_for_each_region_and_class_is_made() -> None:
    torch.manual_seed(0)
    network = build_network(build_settings(ENCODER, {"kind": "clip-rc"}))
    regions, classes, rows, columns = 4, 60, 20, 24
    with torch.no_grad():
        levels = network.encoder(torch.randn(1, 3, 8 * rows, 8 * columns))
        with Largest() as largest:
            network.head(levels, random_text(classes))
    assert 0 < largest.elements < regions * classes * rows * columns


def test_without_a_weight_nothing_is_recovered() -> None:
    settings = build_settings(ENCODER, {"kind": "clip-rc", "recovery_weight": 0.0})
    network = SegmentationNetwork(build_visual(), settings)
    assert not any("recovery" in name for name in network.trained_parameters())
    output = network(torch.randn(1, 3, 16, 24), random_text(3))
    terms = network.head.loss_terms(output, torch.zeros(1, 16, 24), lambda *_: {"focal": 1})
    assert terms == {"focal": 1}


def test_the_recovery_starts_small_and_the_decoder_with_equal_layers() -> None:
    torch.manual_seed(0)
    head: Any = SegmentationNetwork(
        build_visual(), build_settings(ENCODER, {"kind": "clip-rc", "recovery_weight": 3.0})
    ).head
    linears = [each for each in head.recovery.modules() if isinstance(each, nn.Linear)]
    assert len(linears) == 4 + 2 * 6 and not any(each.bias.any() for each in linears)
    weights = torch.cat([each.weight.flatten() for each in linears])
    assert 0.018 < weights.std() < 0.022
    first, *others = (layer.state_dict() for layer in head.decoders[0].layers)
    assert len(others) == 2
    assert all(torch.equal(other[name], first[name]) for other in others for name in first)


@pytest.mark.parametrize("stages", [((4,),), ((1, 2), (4,))])
def test_identity_start_gives_scaled_similarity(stages: tuple[tuple[int, ...], ...]) -> None:
    torch.manual_seed(0)
    head = {"kind": "clip-rc", "stages": stages, "decoder_start": "identity"}
    network = SegmentationNetwork(build_visual(), build_settings(ENCODER, head)).eval()
    text = random_text(5)
    with torch.no_grad():
        output = network(torch.randn(2, 3, 16, 24), text)
        patches = [
            aggregate(output.levels.of(blocks))
            for aggregate, blocks in zip(network.head.aggregations, stages, strict=True)
        ]
    centred = [one - one.mean(-1, keepdim=True) for one in (text, *patches)]
    words, *patches = [nn.functional.normalize(one, dim=-1) for one in centred]
    scale = IDENTITY_LOGIT_SCALE / len(stages)
    expected = scale * sum(words @ one.transpose(1, 2) for one in patches)  # (B, C, N)
    torch.testing.assert_close(output.mask_logits.flatten(2), expected, atol=1e-2, rtol=1e-2)
