"""Our CLIP is open_clip's: the same parts, random weights and numbers, to the bit."""

from __future__ import annotations

from typing import Any, get_args

import open_clip
import pytest
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg

from cascade_clip.clip.build import build_clip, fill_clip, sketch_clip
from cascade_clip.clip.load import OPENAI_PREPROCESSING
from cascade_clip.clip.templates import IMAGENET_TEMPLATES, TEMPLATES
from cascade_clip.clip.transformer import CLIP
from cascade_clip.config import Templates

VISION = {"layers": 2, "width": 24, "head_width": 8, "patch_size": 8, "image_size": 32}
TEXT = {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 2}
OTHER_VISION: dict[str, Any] = {"image_size": [32, 48], "ls_init_value": 0.5, "no_ln_pre": True}
OTHER_VISION["mlp_ratio"] = 3.5


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    ("options", "quick_gelu", "bias"), [({}, True, None), (OTHER_VISION, False, -10.0)]
)
def test_equals_open_clip(
    options: dict[str, Any], quick_gelu: bool, bias: float | None, autocast: bool
) -> None:
    torch.manual_seed(0)
    ours = build_clip(16, VISION | options, TEXT, quick_gelu, bias).eval()
    ahead = torch.rand(1)
    torch.manual_seed(0)
    sizes = CLIPVisionCfg(**(VISION | options)), CLIPTextCfg(**TEXT)
    theirs = open_clip.CLIP(16, *sizes, quick_gelu=quick_gelu, init_logit_bias=bias).eval()
    assert type(ours) is CLIP and type(theirs) is not CLIP
    assert torch.equal(torch.rand(1), ahead)
    assert str(ours) == str(theirs)  # what a stored copy of a CLIP compares
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in state)
    images, tokens = torch.randn(2, 3, *ours.visual.image_size), torch.randint(0, 32, (5, 8))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert torch.equal(ours.encode_image(images), theirs.encode_image(images))
        assert torch.equal(ours.encode_text(tokens), theirs.encode_text(tokens))
        both = zip(ours(images, tokens), theirs(images, tokens), strict=True)
        assert all(torch.equal(*pair) for pair in both)


def test_a_filled_sketch_is_the_clip_and_shares_nothing_with_the_weights() -> None:
    clip = build_clip(16, VISION, TEXT).eval()
    state = {name: value.clone() for name, value in clip.state_dict().items()}
    sketch = sketch_clip({"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT})
    filled = fill_clip(sketch, state, "weights", "a CLIP").eval()
    for value in state.values():
        value.zero_()
    tokens = torch.randint(0, 32, (5, 8))
    assert torch.equal(filled.encode_text(tokens), clip.encode_text(tokens))
    assert all(isinstance(weight, torch.nn.Parameter) for weight in filled.parameters())


def test_other_forms_are_open_clips_own() -> None:
    assert isinstance(build_clip(16, VISION | {"qk_norm": True}, TEXT), open_clip.CLIP)
    assert isinstance(build_clip(16, VISION, TEXT | {"pool_type": "eos"}), open_clip.CLIP)


def test_published_constants_are_open_clips() -> None:
    expected = tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)
    assert expected == IMAGENET_TEMPLATES


def test_every_setting_of_templates_has_its_texts() -> None:
    assert set(get_args(Templates)) == set(TEMPLATES)
    normalisation = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    assert normalisation == OPENAI_PREPROCESSING
