"""Released checkpoints: nothing lost, nothing executed, every mistake named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cascade_clip.checkpoint.released.classes import Overrides
from cascade_clip.checkpoint.released.load import build_released, convert_released, load_released
from cascade_clip.checkpoint.released.names import (
    DEEP_PROMPTS,
    FIRST_PROMPTS,
)
from cascade_clip.errors import UserError

DATA = Path(__file__).parents[2] / "golden" / "data"
CASES = ("cascade", "zeg")
NAMES = tuple(f"class {index}" for index in range(7))
POSITIONS = "backbone.positional_embedding"


def checkpoint(case: str) -> dict[str, Any]:
    return torch.load(DATA / f"{case}_small.pth", weights_only=True)


def convert(change: Callable[[dict, dict], object], **overrides: Any) -> object:
    """The cascade case after a change to its weights and its meta."""
    state, meta = checkpoint("cascade")["state_dict"], checkpoint("cascade")["meta"]
    change(state, meta)
    return build_released(convert_released(state, meta, Overrides(**overrides)))


def edit_config(old: str, new: str) -> Callable[[dict, dict], object]:
    def change(_: dict, meta: dict) -> None:
        assert old in meta["config"]
        meta["config"] = meta["config"].replace(old, new)

    return change


def out_indices(new: str) -> Callable[[dict, dict], object]:
    """In the encoder's section; they stand at the top, too."""
    following = ",\n        num_tokens"
    return edit_config(f"[5, 6, 7, 8, 9, 10]{following}", new + following)


@pytest.mark.parametrize("case", CASES)
def test_what_a_checkpoint_says(case: str) -> None:
    model = load_released(DATA / f"{case}_small.pth")
    stages = ((6, 7, 8), (9, 10, 11), (12,)) if case == "cascade" else ((12,),)
    assert model.settings.head.stages == stages
    assert (model.settings.head.decoder_heads, model.settings.head.decoder_layers) == (4, 3)
    assert model.settings.encoder.prompts == 2
    assert model.settings.encoder.class_embedding_twice
    assert model.settings.encoder.level_projection == "random-frozen"
    vision = {"layers": 12, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 64}
    assert model.vision == vision
    assert model.text["vocab_size"] == 64 and model.text["layers"] == 2
    assert model.classes.seen == (0, 1, 2, 4, 6) and model.classes.unseen == (3, 5)
    assert model.classes.names == tuple(f"class {i}" for i in range(7))
    assert (model.classes.setting, model.classes.seen_score_offset) == ("inductive", 0.1)
    assert (model.preprocessing.crop, model.preprocessing.stride) == (64, 48)
    assert model.preprocessing.mean[0] == pytest.approx(123.675 / 255)


@pytest.mark.parametrize("case", CASES)
def test_every_live_weight_is_used_and_every_dead_one_is_not(case: str) -> None:
    state = checkpoint(case)["state_dict"]
    model = load_released(DATA / f"{case}_small.pth")
    dead = model.family.dead_weights()
    for name, shape in dead.items():
        assert tuple(state[name].shape) == shape
    assert not dead.keys() & model.family.renames().keys()
    again = model.family.to_released(model.network_state)
    text = {name for name in state if name.startswith("text_encoder.")}
    assert again.keys() | dead.keys() | text == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in again.items())


def test_defaults_that_real_files_leave_out() -> None:
    state, meta = checkpoint("cascade")["state_dict"], checkpoint("cascade")["meta"]
    for line in ("        heads=2,\n", "        num_heads=4,\n"):
        edit_config(line, "")(state, meta)
    with pytest.raises(UserError, match="12 vision heads"):  # 12 is the released default
        convert_released(state, meta, Overrides())
    model = convert_released(state, meta, Overrides(vision_heads=4))
    assert model.vision["head_width"] == 8
    assert model.settings.head.decoder_heads == 8


def test_transductive_and_full_have_no_score_offset() -> None:
    state, meta = checkpoint("cascade")["state_dict"], checkpoint("cascade")["meta"]
    edit_config("    ft_backbone=False,\n", "    self_training=True,\n")(state, meta)
    classes = convert_released(state, meta, Overrides()).classes
    assert (classes.setting, classes.seen_score_offset) == ("transductive", 0.0)
    classes = convert_released(state, meta, Overrides(seen=tuple(range(7)))).classes
    assert classes.unseen == ()
    full = convert_released(state, meta, Overrides(seen=tuple(range(7)), setting="full")).classes
    assert (full.setting, full.seen_score_offset) == ("full", 0.0)


def without_prompts(state: dict, _: dict) -> None:
    for name in (FIRST_PROMPTS, DEEP_PROMPTS):
        state[name] = state[name][:, :0]


@pytest.mark.parametrize(
    ("change", "overrides", "message"),
    [
        (lambda s, m: s.update(surprise=torch.ones(1)), {}, "unknown weights.*: surprise"),
        (lambda s, m: s.pop("backbone.ln_pre.bias"), {}, "missing .*backbone.ln_pre.bias"),
        (lambda s, m: s.pop("text_encoder.ln_final.bias"), {}, "ln_final.bias"),
        (lambda s, m: s.pop("backbone.prompt_embeddings"), {}, "deep prompts"),
        (lambda s, m: s["backbone.proj"].fill_(torch.nan), {}, "NaN .*backbone.proj"),
        (lambda s, m: s.update({"backbone.ln_pre.bias": torch.ones(3)}), {}, "don't fit"),
        (lambda s, m: s.clear(), {}, "neither a Cascade-CLIP nor a ZegCLIP"),
        (lambda s, m: m.update(CLASSES=("a", "b")), {}, "2 class names .* 7 classes"),
        (lambda s, m: m.update(config="import os"), {}, "import os"),
        (out_indices("[5, 6]"), {}, "inner-bl"),
        (edit_config("seen_idx=[0, 1, 2, 4, 6]", "seen_idx=[0, 9]"), {}, "make no split"),
        (edit_config("seen_idx=[0, 1, 2, 4, 6]", "seen_idx='all'"), {}, "expected numbers"),
        (edit_config("seen_idx=[0, 1, 2, 4, 6]", "seen_idx=[0, 0]"), {}, "make no split"),
        (
            out_indices("[6, 7, 8, 9, 10, 11]"),
            {},
            "must",
        ),
        (edit_config("to_rgb=True", "to_rgb=False"), {}, "BGR"),
        (edit_config("std=[58.395", "std=[0"), {}, "values above 0"),
        (edit_config("crop_size=(64, 64)", "crop_size=([64], 64)"), {}, "expected a square"),
        (edit_config("heads=2", "heads=True"), {}, "True vision heads"),
        (lambda s, m: m.update(CLASSES=7), {}, "give --class-names"),
        (lambda s, m: s.update({FIRST_PROMPTS: torch.ones(1, 3, 32)}), {}, "equally many"),
        (lambda s, m: s.update({FIRST_PROMPTS: torch.ones(1, 2, 31)}), {}, "equally many"),
        (without_prompts, {}, "equally many"),
        (lambda s, m: s.update({"backbone.proj": torch.ones(32, 16).int()}), {}, "backbone.proj"),
        (lambda s, m: s.update({"backbone.proj": torch.eye(3).to_sparse()}), {}, "backbone.proj"),
        (lambda s, m: s.update({POSITIONS: torch.ones(1, 32)}), {}, "0 patch positions"),
        (lambda s, m: None, {"unseen_names": NAMES}, "no seen classes"),
        (lambda s, m: None, {"decoder_heads": 5}, "5 decoder heads"),
        (lambda s, m: None, {"text_heads": 5}, "5 text heads"),
    ],
)
def test_broken_checkpoints_are_refused(change: Any, overrides: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        convert(change, **overrides)


def test_the_released_order_of_blocks_is_ascending() -> None:
    state, meta = checkpoint("cascade")["state_dict"], checkpoint("cascade")["meta"]
    out_indices("[10, 9, 8, 7, 6, 5]")(state, meta)
    model = convert_released(state, meta, Overrides())
    assert model.settings.head.stages == ((6, 7, 8), (9, 10, 11), (12,))


def test_released_model_is_a_value() -> None:
    model = load_released(DATA / "zeg_small.pth")
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.family.depth = 3  # type: ignore[misc]
