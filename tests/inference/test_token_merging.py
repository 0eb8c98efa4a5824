"""`inference.token_merging` through models, whatever they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from cascade_clip import Segmenter
from cascade_clip.checkpoint.folder import load_bundle
from cascade_clip.config.recipes import load_recipe, with_inference
from cascade_clip.errors import UserError
from cascade_clip.evaluation.stages import StageView
from cascade_clip.export.write import export_model
from cascade_clip.inference.token_merging import merging_tokens
from cascade_clip.model.protocol import MaskNetwork, Output
from cascade_clip.picturebook import draw_scene
from tests.model.build import build_network, build_settings, random_text

MERGED = {"token_merging": 0.125}
SCENES = [draw_scene(7, index, (96, 128)).image for index in range(6)]


def operations(network: MaskNetwork, image: torch.Tensor, text: torch.Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(image, text)
    count: int = counter.get_total_flops()
    return count


@pytest.mark.parametrize("method", [None, "sc-clip", "gem", "resclip"])
def test_hardly_any_label_changes_for_fewer_operations(method: str | None) -> None:
    def build(**options: Any) -> Segmenter:
        if method is None:
            return Segmenter.from_pretrained(**options)
        return Segmenter.from_clip("picturebook", method=method, **options)

    names = "sky, grass, house, tree, sun, road"
    plain, merged = build(), build(inference=MERGED)
    one, other = plain(SCENES, names), merged(SCENES, names)
    same = np.mean([(a.labels == b.labels).mean() for a, b in zip(one, other, strict=True)])
    assert 0.95 < same < 1
    image, text = torch.zeros(1, 3, 96, 96), plain.query(names).embeddings
    counts = [operations(s.predictor.network, image, text) for s in (plain, merged)]
    assert counts[0] > 1.15 * counts[1]


def test_models_of_one_bundle_merge_each_as_it_was_asked() -> None:
    bundle = load_bundle("picturebook")
    first = Segmenter.of(bundle)
    alone = first(SCENES[0], "sky, grass")
    merged = Segmenter.of(bundle, inference=MERGED)
    second = Segmenter.of(bundle)
    assert merged.network is merged.predictor.network is not bundle.network
    weights = dict(merged.network.named_parameters())  # type: ignore[attr-defined]
    assert all(weights[name] is own for name, own in bundle.network.named_parameters())
    for segmenter in (first, second):
        assert segmenter.predictor.network is bundle.network
        found = segmenter(SCENES[0], "sky, grass")
        assert np.array_equal(found.labels, alone.labels)


@pytest.mark.parametrize("tuning", ["deep-prompts", "frozen", "full", "last-blocks"])
def test_levels_have_all_patches_whatever_is_tuned(tuning: str) -> None:
    torch.manual_seed(0)
    tuned = {"tuned_blocks": 2} if tuning == "last-blocks" else {}
    prompts = {"prompts": 2} if tuning == "deep-prompts" else {}
    network = build_network(build_settings({"tuning": tuning, **tuned, **prompts}))
    image, text = torch.randn(2, 3, 40, 56), random_text(3)
    with torch.no_grad():
        output = merging_tokens(network, 0.2)(image, text)
        assert output.mask_logits.shape == (2, 3, 5, 7)
        assert not torch.equal(output.mask_logits, network(image, text).mask_logits)


def test_pictures_of_one_batch_dont_mix() -> None:
    torch.manual_seed(0)
    network = merging_tokens(build_network(), 0.2)
    images, text = torch.randn(3, 3, 40, 56), random_text(3)
    with torch.no_grad():
        together = network(images, text).mask_logits
        alone = torch.cat([network(image[None], text).mask_logits for image in images])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize(
    "recipe, what",
    [
        ("spt-cascade/picturebook/inductive", "spectral-prompts"),
        ("rpn/picturebook/inductive", "relationship-prompts"),
        ("clip-rc/picturebook/inductive", "regions"),
    ],
)
def test_encoders_that_need_all_patches_refuse(recipe: str, what: str) -> None:
    with pytest.raises(UserError, match=f"token_merging can't be had with {what}"):
        load_recipe(recipe, ["inference.token_merging=0.1"])


def test_shares_beyond_what_four_blocks_can_merge_are_refused() -> None:
    with pytest.raises(UserError, match=r"token_merging: expected at most 0\.2"):
        Segmenter.from_pretrained(inference={"token_merging": 0.25})


def test_exported_files_refuse_it_and_leave_that_of_a_recipe_out(tmp_path: Path) -> None:
    bundle = load_bundle("picturebook")
    file = tmp_path / "model.pt2"
    merging = replace(bundle, recipe=with_inference(bundle.recipe, MERGED))
    export_model(merging, file, format="torch-export")
    exported = Segmenter.from_pretrained(file)
    assert exported.recipe.inference.token_merging == 0
    found = exported(SCENES[0], "sky, grass, house")
    plain = Segmenter.from_pretrained()(SCENES[0], "sky, grass, house")
    assert (found.labels == plain.labels).mean() > 0.999
    with pytest.raises(UserError, match="exported file can't merge tokens"):
        Segmenter.from_pretrained(file, inference=MERGED)


def test_what_wraps_a_network_merges_with_it() -> None:
    torch.manual_seed(0)
    network = build_network()
    image, text = torch.randn(1, 3, 40, 56), random_text(3)
    merged = merging_tokens(network, 0.2)
    with torch.no_grad():
        wrapped = merging_tokens(StageView(network, 1), 0.2)(image, text).mask_logits
        again = merging_tokens(StageView(merged, 1), 0.2)(image, text).mask_logits  # type: ignore[arg-type]
        without = merging_tokens(merged, 0.0)(image, text).mask_logits
        expected, plain = merged(image, text), network(image, text)
    assert isinstance(expected, Output)
    torch.testing.assert_close(wrapped, expected.stage_logits[1])
    torch.testing.assert_close(again, expected.stage_logits[1])
    torch.testing.assert_close(without, plain.mask_logits)


def test_weights_are_those_of_the_network_even_when_they_change() -> None:
    network = build_network()
    merged = merging_tokens(network, 0.1)
    image, text = torch.randn(1, 3, 40, 56), random_text(3)
    with torch.no_grad():
        before = merged(image, text).mask_logits
        for weight in network.parameters():
            weight.mul_(1.5)
        after = merged(image, text).mask_logits
        fresh = merging_tokens(network, 0.1)(image, text).mask_logits
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, fresh)
