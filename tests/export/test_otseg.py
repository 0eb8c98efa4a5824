"""Exported files of heads that take several prompts a class."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.checkpoint.folder import Bundle
from cascade_clip.class_names import parse_classes
from cascade_clip.clip.load import load_clip
from cascade_clip.clip.templates import OTSEG_VOC_TEMPLATES
from cascade_clip.config.recipes import parse_recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.export.bundle import load_any
from cascade_clip.export.write import export_model
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.segmenter import Segmenter
from tests.conftest import TINY_CLIP

WIDTH = TINY_CLIP["embed_dim"]


@pytest.fixture
def bundle(clip_of_3_blocks: Path) -> Bundle:
    recipe = parse_recipe(
        {
            "name": "several",
            "model": {
                "clip": {"model": f"local-dir:{clip_of_3_blocks}"},
                "encoder": {"prompts": 2},
                "head": {"kind": "otseg", "stages": [[3]]},
            },
            "data": {"templates": "otseg-6", "average_templates": False},
            "inference": {"crop": 32, "stride": 32, "short_side": 32},
        }
    )
    clip = load_clip(recipe.model.clip)
    torch.manual_seed(1)
    network = SegmentationNetwork(clip.visual, recipe.model).eval()
    return Bundle(network, clip, recipe, ClassSet(("cat", "sky"), ("sky",)), OTSEG_VOC_TEMPLATES)


def text(classes: int, prompts: int) -> Tensor:
    return F.normalize(torch.randn(classes, prompts, WIDTH), dim=-1)


def test_a_file_takes_as_many_prompts_a_class_as_the_model(bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "model.pt2"
    export_model(bundle, file, format="torch-export")
    segmenter = Segmenter.from_pretrained(file)
    image, names = torch.randn(2, 3, 24, 40), text(3, 6)
    with torch.inference_mode():
        expected = bundle.network(image, names).mask_logits
        actual = segmenter.network(image, names).mask_logits
    # The file stops where the network does: with a round more or less it is off by 1e-4.
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)
    assert segmenter.query("cat, house").embeddings.shape == (2, 6, WIDTH)
    with pytest.raises(UserError, match="takes 6 prompts a class, got 1"):
        segmenter.network(image, segmenter.query("cat", templates="single").embeddings)


def test_fixed_classes_have_their_prompts_in_the_file(bundle: Bundle, tmp_path: Path) -> None:
    file = tmp_path / "fixed.pt2"
    export_model(bundle, file, format="torch-export", classes=parse_classes("cat, house"))
    loaded = load_any(file, torch.device("cpu"))
    assert loaded.clip.text_encoder(("cat", "house"), loaded.templates).shape == (2, 2)
    picture = torch.rand(3, 32, 48)
    labels = Segmenter.from_pretrained(file)(picture).labels
    whole = Segmenter.of(bundle)
    assert (labels == whole(picture, "cat, house").labels).mean() > 0.99
