"""RPN's released checkpoints: what they say, nothing lost, every mistake named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cascade_clip.checkpoint.folder import load_model
from cascade_clip.checkpoint.released.classes import Overrides
from cascade_clip.checkpoint.released.convert import to_folder
from cascade_clip.checkpoint.released.load import build_released, convert_released
from cascade_clip.errors import UserError

FILE = Path(__file__).parents[2] / "golden" / "data" / "rpn_small.pth"


def checkpoint() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    content = torch.load(FILE, weights_only=True)
    return content["state_dict"], content["meta"]


def test_every_live_weight_is_used_and_every_dead_one_is_not() -> None:
    state, meta = checkpoint()
    model = convert_released(state, meta, Overrides())
    assert model.family.origin.method == "RPN" and model.templates == "single"
    assert (model.classes.setting, model.classes.seen_score_offset) == ("inductive", 0.1)
    dead = model.family.dead_weights()
    assert {name: tuple(state[name].shape) for name in dead} == dead
    again = model.family.to_released(model.network_state)
    text = {name for name in state if name.startswith("text_encoder.")}
    assert again.keys() | dead.keys() | text == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in again.items())


def test_a_converted_folder_computes_the_same(tmp_path: Path) -> None:
    released, recipe = to_folder(FILE, tmp_path / "model")
    assert recipe.model.head.kind == "rpn"
    assert recipe.model.encoder.tuning == "relationship-prompts"
    image = torch.randn(1, 3, 64, 64)
    text = torch.nn.functional.normalize(torch.randn(3, released.embed_dim), dim=-1)
    with torch.no_grad():
        expected = build_released(released)[1](image, text).mask_logits
        assert torch.equal(load_model(tmp_path / "model")(image, text).mask_logits, expected)


MISTAKES: list[tuple[Callable[[dict[str, torch.Tensor]], object], dict[str, Any], str]] = [
    (lambda s: s.update(prompt_proj=torch.zeros(9, 32)), {}, "made for 9 patches, .* for 4 x 4"),
    (lambda s: s.pop("prompt_proj"), {}, "no weight 'prompt_proj'"),
    (lambda s: s.pop("decode_head.tex_norm_1.bias"), {}, "missing weights: .*tex_norm_1.bias"),
    (lambda s: s.update({"decode_head.vis_proj_2.bias": torch.zeros(16)}), {}, "unknown weights"),
    (lambda s: None, {"inner_blocks": (6, 7)}, "RPN checkpoint reads the last block only"),
]


@pytest.mark.parametrize(("change", "overrides", "message"), MISTAKES)
def test_mistakes_are_named(
    change: Callable[[dict[str, torch.Tensor]], object], overrides: dict[str, Any], message: str
) -> None:
    state, meta = checkpoint()
    change(state)
    with pytest.raises(UserError, match=message):
        convert_released(state, meta, Overrides(**overrides))
