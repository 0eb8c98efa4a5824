"""SPT-SEG's filter on any grid."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from cascade_clip.config.heads import SpectralSettings
from cascade_clip.model.heads.spectral import FrequencyMixer
from cascade_clip.model.spectral_prompts import SpectralPrompt
from tests.model.build import build_network, build_settings, random_text

GRIDS = ((6, 6), (5, 7), (9, 4), (1, 3), (12, 12))


@pytest.mark.parametrize("grid", GRIDS)
def test_a_response_of_one_adds_patches_times_class_token_on_every_grid(
    grid: tuple[int, int],
) -> None:
    prompt = SpectralPrompt(width=8, reference_grid=(6, 6))
    with torch.no_grad():
        prompt.response.copy_(torch.tensor([1.0, 0.0]).expand_as(prompt.response))
    tokens = torch.randn(2, 1 + grid[0] * grid[1], 8)
    expected = tokens[:, 1:] * (1 + tokens[:, :1])
    actual = prompt(tokens, grid)
    assert torch.equal(actual[:, :1], tokens[:, :1])
    torch.testing.assert_close(actual[:, 1:], expected, atol=1e-5, rtol=1e-5)


def test_the_reference_grid_meets_the_stored_response_itself() -> None:
    prompt = SpectralPrompt(width=8, reference_grid=(6, 8))
    assert torch.equal(torch.view_as_real(prompt.response_on((6, 8))), prompt.response)


def test_a_wave_meets_the_same_response_on_every_grid() -> None:
    prompt = SpectralPrompt(width=3, reference_grid=(8, 8))
    response = prompt.response_on((8, 8))
    double = prompt.response_on((16, 16))  # holds the same frequencies at every other place
    torch.testing.assert_close(double[:8:2, ::2], response[:4])
    torch.testing.assert_close(double[8::2, ::2], response[4:])


@pytest.mark.parametrize("stages", [((4,),), ((1, 2), (3,), (4,))])
@pytest.mark.parametrize("side", [8, 40, 56])
def test_spt_seg_with_and_without_cascade_takes_any_grid(
    side: int, stages: tuple[tuple[int, ...], ...]
) -> None:
    torch.manual_seed(0)
    encoder = {"tuning": "spectral-prompts", "prompts": 2}
    settings = build_settings(encoder, {"stages": stages, "kind": "spectral"})
    network = build_network(settings)
    logits = network(torch.randn(2, 3, side, 24), random_text(3)).mask_logits
    assert logits.shape == (2, 3, side // 8, 3)
    assert logits.isfinite().all() and logits.std() > 0


@pytest.mark.parametrize("heads", [2, 8])
def test_a_fresh_mixer_masks_no_patch_whatever_the_patches_share(heads: int) -> None:
    torch.manual_seed(0)
    for _ in range(20):
        mixer = FrequencyMixer(embed_dim=64, heads=heads)
        patches = F.normalize(torch.randn(64) + torch.randn(2, 9, 9, 64), dim=-1)
        similarity = F.cosine_similarity(mixer.mix(patches), mixer.focus, dim=-1)
        assert (similarity > 0).all()


@pytest.mark.parametrize("setting", [{"decoder_start": "identity"}, {"decoder_heads": 1}])
def test_settings_that_the_spectral_decoder_lacks(setting: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(setting))):
        SpectralSettings(**setting)
