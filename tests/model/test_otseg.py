"""OTSeg's head with several prompts a class: both paths, stages, training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.config import ModelSettings
from cascade_clip.model.heads.otseg import OTSegOutput, match
from cascade_clip.model.network import SegmentationNetwork
from tests.model.build import EMBED_DIM, build_network, build_visual
from tests.naive.network import NaiveSizes, naive_forward

ONE_STAGE = ((4,),)
CASCADE = ((1, 2), (3,), (4,))


def network_of(**head: Any) -> SegmentationNetwork:
    torch.manual_seed(0)
    return build_network(settings_of(decoder_dropout=0.0, **head))


def settings_of(**head: Any) -> ModelSettings:
    return ModelSettings(encoder={"prompts": 2}, head={"kind": "otseg", "stages": CASCADE, **head})


def inputs(rows: int = 3, columns: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(2, 3, 8 * rows, 8 * columns, generator=generator)
    text = F.normalize(torch.randn(4, 3, EMBED_DIM, generator=generator), dim=-1)
    return image, text


def output_of(network: SegmentationNetwork) -> OTSegOutput:
    with torch.no_grad():
        output = network(*inputs())
    assert isinstance(output, OTSegOutput)
    return output


@pytest.mark.parametrize(
    ("head", "grid"),
    [
        ({"stages": ONE_STAGE}, (3, 5)),
        ({"stages": CASCADE}, (1, 7)),
        ({"stages": CASCADE, "prompt_scores": "sum", "sinkhorn_rounds": 4}, (3, 5)),
        ({"stages": CASCADE, "test_scores": "decoder", "decoder_layers": 1}, (5, 1)),
        ({"stages": ONE_STAGE, "test_scores": "decoder", "decoder_layers": 4}, (2, 2)),
    ],
)
def test_several_prompts_a_class_equal_the_naive_twin(
    head: dict[str, Any], grid: tuple[int, int]
) -> None:
    network = network_of(**head)
    image, text = inputs(*grid)
    sizes = NaiveSizes(3, (4, 4), quick_gelu=True)
    with torch.no_grad():
        expected = naive_forward(network.state_dict(), network.settings, sizes, image, text)
        actual = network(image, text)
    for ours, theirs in zip(actual.stage_logits, expected.stage_logits, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_mask_logits_are_the_decoders_or_half_of_each_path() -> None:
    both, alone = (
        output_of(network_of(stages=CASCADE, test_scores=which))
        for which in ("ensemble", "decoder")
    )
    torch.testing.assert_close(both.mask_logits, (both.prompt_logits + both.decoder_logits) / 2)
    assert torch.equal(alone.mask_logits, alone.decoder_logits)
    for output in (both, alone):
        torch.testing.assert_close(sum(output.stage_logits), output.mask_logits)


def test_prompts_scores_of_the_stages_are_averaged_or_summed() -> None:
    mean, total = (
        output_of(network_of(stages=CASCADE, prompt_scores=how)) for how in ("mean", "sum")
    )
    torch.testing.assert_close(3 * mean.prompt_logits, total.prompt_logits)
    assert torch.equal(mean.decoder_logits, total.decoder_logits)


def test_training_takes_both_paths_whatever_is_tested() -> None:
    outputs, terms = [], []
    for which in ("ensemble", "decoder"):
        network = network_of(stages=CASCADE, test_scores=which).train()
        network.encoder.prompts.dropout.p = 0.0
        output = output_of(network)
        outputs.append(output)
        terms.append(
            network.head.loss_terms(
                output, torch.zeros(2, 1, 1), lambda logits, targets: {"sum": logits.sum()}
            )
        )
    assert torch.equal(outputs[0].mask_logits, outputs[1].mask_logits)
    assert (
        terms[0]
        == terms[1]
        == {
            "decoder_sum": outputs[0].decoder_logits.sum(),
            "score_sum": outputs[0].prompt_logits.sum(),
        }
    )


def test_the_identity_starts_at_the_transport_of_text_and_patches() -> None:
    torch.manual_seed(0)
    settings = settings_of(stages=ONE_STAGE, decoder_start="identity")
    network = SegmentationNetwork(build_visual(), settings).eval()
    output, (_, text) = output_of(network), inputs()
    features = output.levels.features[0]
    scores = match(text.expand(2, -1, -1, -1), features, None)[0].unflatten(2, (3, 5))
    torch.testing.assert_close(output.prompt_logits, scores)
    centred = F.layer_norm(text, (EMBED_DIM,)).expand(2, -1, -1, -1)
    later = match(centred, features, None)[0].unflatten(2, (3, 5))
    gates = (scores.sigmoid() * later.sigmoid()).sqrt()
    torch.testing.assert_close(output.decoder_logits, later * gates, atol=1e-4, rtol=1e-4)


def test_other_classes_matter_by_the_stop_alone() -> None:
    image, text = inputs()
    with torch.no_grad():
        for rounds, apart in ((30, 1e-5), (None, 1e-3)):
            network = network_of(sinkhorn_rounds=rounds)
            fewer, more = network(image, text[:2]).mask_logits, network(image, text).mask_logits
            assert (fewer - more[:, :2]).abs().max() < apart


def test_lower_precision_around_it_changes_little() -> None:
    network = network_of(stages=CASCADE)
    exact = output_of(network).mask_logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = output_of(network).mask_logits
    assert (near.float() - exact).abs().mean() < 0.05 * exact.abs().mean()
