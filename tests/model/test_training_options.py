"""Activation checkpointing, and autocast with frozen weights that are converted once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cascade_clip.model.fast.blocks import LowPrecisionBlock
from cascade_clip.model.network import SegmentationNetwork
from tests.model.build import build_network, build_settings, random_text

TUNINGS = [
    {"tuning": "deep-prompts", "prompts": 2, "prompt_dropout": 0.5},
    {"tuning": "shallow-prompts", "prompts": 2},
    {"tuning": "relationship-prompts", "prompts": 2, "prompt_dropout": 0.5},
    {"tuning": "frozen"},
    {"tuning": "last-blocks", "tuned_blocks": 2},
    {"tuning": "full"},
]


def step(network: SegmentationNetwork, autocast: bool = False) -> dict[str, Tensor]:
    """Mask logits and all gradients of one training step."""
    torch.manual_seed(1)
    network.zero_grad()
    image, text = torch.randn(2, 3, 24, 16), random_text(3)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        mask_logits = network(image, text).mask_logits
    mask_logits.float().square().sum().backward()
    gradients = {n: p.grad.clone() for n, p in network.trained_parameters().items()}
    return {"logits": mask_logits.detach().clone(), **gradients}


@pytest.mark.parametrize("tuning", TUNINGS)
def test_checkpointing_changes_no_number(tuning: dict[str, object]) -> None:
    torch.manual_seed(0)
    network = build_network(build_settings(tuning)).train()
    expected = step(network)
    network.encoder.checkpoint_activations = True
    actual = step(network)
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_checkpointing_keeps_less() -> None:
    def kept(checkpoint: bool) -> int:
        torch.manual_seed(0)
        network = build_network().train()
        network.encoder.checkpoint_activations = checkpoint
        image = torch.randn(2, 3, 64, 64)
        weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
        sizes = {}

        def note(tensor: Tensor) -> Tensor:
            if tensor.untyped_storage().data_ptr() not in weights:
                sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            network.encoder(image)
        return sum(sizes.values())

    assert kept(checkpoint=True) < kept(checkpoint=False) / 2


@pytest.mark.parametrize("tuning", TUNINGS)
def test_autocast_uses_converted_blocks_exactly_where_nothing_trains(
    tuning: dict[str, object],
) -> None:
    torch.manual_seed(4)  # no ReLU of the small head is so near 0 that rounding flips it
    network = build_network(build_settings(tuning)).train()
    full = step(network)
    half = step(network, autocast=True)
    for name, value in full.items():
        if not name.endswith("key.bias"):  # has no gradient but rounding
            error = (half[name].float() - value).norm() / value.norm()
            assert error < 0.1, name
    with torch.autocast("cpu", torch.bfloat16):
        blocks = network.encoder.blocks(torch.device("cpu"))
        again = network.encoder.blocks(torch.device("cpu"))
    lowered = [isinstance(block, LowPrecisionBlock) for block in blocks]
    kind = tuning["tuning"]
    trained = {"full": 4, "last-blocks": 2}.get(str(kind), 0)
    assert lowered == [True] * (4 - trained) + [False] * trained
    kept = slice(4 - trained)
    assert all(first is second for first, second in zip(blocks[kept], again[kept], strict=True))
    names = network.state_dict().keys()
    assert names == build_network(build_settings(tuning)).state_dict().keys()


def test_converted_blocks_follow_changed_weights() -> None:
    torch.manual_seed(0)
    network = build_network()
    image, text = torch.randn(1, 3, 16, 16), random_text(2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = network(image, text).mask_logits
        network.encoder.visual.transformer.resblocks[0].mlp.c_fc.weight.mul_(2)
        after = network(image, text).mask_logits
    assert (after - before).abs().max() > 1e-3
