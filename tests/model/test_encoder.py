"""The encoder against open_clip's own forward."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from cascade_clip.clip.build import build_clip
from cascade_clip.errors import UserError
from cascade_clip.model.encoder import ImageEncoder
from cascade_clip.model.fast.blocks import fast_block
from tests.model.build import build_settings, build_visual

VISION = {"layers": 3, "width": 24, "head_width": 8, "patch_size": 8, "image_size": 32}
TEXT = {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1}


@pytest.mark.parametrize("options", [{}, {"ls_init_value": 0.5}, {"no_ln_pre": True}])
def test_frozen_encoder_gives_the_image_embedding_of_clip(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    visual = build_clip(16, VISION | options, TEXT).visual.eval()
    settings = build_settings({"tuning": "frozen", "class_embedding_twice": False})
    encoder = ImageEncoder(visual, settings.encoder, (2, 3)).eval()
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = F.normalize(visual(image), dim=-1)
        levels = encoder(image)
    torch.testing.assert_close(levels.global_embedding, expected, atol=1e-6, rtol=1e-5)
    assert levels.blocks == (2, 3) and [f.shape for f in levels.features] == [(2, 16, 16)] * 2


@pytest.mark.parametrize("options", [{}, {"qk_norm": True}])
def test_prompts_reach_the_other_tokens_as_if_they_were_tokens(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    block = build_clip(16, VISION | options, TEXT).visual.transformer.resblocks[0].eval()
    tokens, prompts = torch.randn(2, 5, 24), torch.randn(1, 3, 24)
    with torch.no_grad():
        whole = block(torch.cat([tokens, prompts.expand(2, -1, -1)], dim=1))[:, :5]
        actual = fast_block(block)(tokens, prompts)
    torch.testing.assert_close(actual, whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"qk_norm": True}])
def test_what_a_mask_leaves_out_is_not_there(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    block = fast_block(build_clip(16, VISION | options, TEXT).visual.transformer.resblocks[0])
    tokens, prompts = torch.randn(2, 5, 24), torch.randn(1, 3, 24)
    mask = torch.ones(5, 8, dtype=torch.bool)
    mask[:2, 2:5] = mask[2:, :2] = mask[2:, 5:] = False
    with torch.no_grad():
        actual = block(tokens, prompts, mask)
        expected = torch.cat([block(tokens[:, :2], prompts), block(tokens[:, 2:])], dim=1)
    torch.testing.assert_close(actual, expected, atol=1e-6, rtol=1e-5)


def test_clip_levels_start_at_the_head_of_clip() -> None:
    torch.manual_seed(0)
    settings = build_settings({"tuning": "frozen", "level_projection": "clip-frozen"})
    encoder = ImageEncoder(build_visual(), settings.encoder, (2, 4))
    patches = torch.randn(2, 6, 24)
    expected = F.normalize(encoder.visual.ln_post(patches) @ encoder.visual.proj, dim=-1)
    torch.testing.assert_close(encoder.level_projections(0, patches), expected)


@pytest.mark.parametrize("options", [{"pool_type": "avg"}, {"attentional_pool": True}])
def test_encoders_without_a_class_embedding_are_refused(options: dict[str, object]) -> None:
    visual = build_clip(16, VISION | options, TEXT).visual
    with pytest.raises(UserError, match="class token"):
        ImageEncoder(visual, build_settings().encoder, (3,))
    with pytest.raises(UserError, match="VisionTransformer"):
        ImageEncoder(torch.nn.Linear(2, 2), build_settings().encoder, (3,))
