"""Models kept on the way are those of their step, and training can start from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cascade_clip.checkpoint.folder import load_bundle
from cascade_clip.config.recipes import load_recipe
from cascade_clip.training.checkpoints import check_reached
from cascade_clip.training.run import train


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_model_of_a_step(tmp_path: Path, tiny_overrides: list[str], accumulate: int) -> None:
    settings = [
        "train.steps=4",
        "train.keep_model_at=[2, 9]",
        "train.checkpoint_every=2",
        f"train.accumulate={accumulate}",
    ]
    out = tmp_path / "run"
    train(
        load_recipe("cascade-clip/picturebook/inductive", [*tiny_overrides, *settings]),
        out,
        quiet=True,
    )

    assert sorted(path.name for path in out.glob("model*")) == ["model", "model-2"]
    checkpoint = torch.load(out / "checkpoints" / "previous.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    kept = load_bundle(out / "model-2").network.adapter_state_dict()
    assert kept.keys() == checkpoint["state_dict"].keys()
    for name, value in checkpoint["state_dict"].items():
        assert torch.equal(kept[name], value), name


def test_self_training_starts_from_it(tmp_path: Path, tiny_overrides: list[str]) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    settings = ["train.steps=2", "train.keep_model_at=[1]"]
    train(
        load_recipe("cascade-clip/picturebook/inductive", [*tiny_overrides, *settings]),
        first,
        quiet=True,
    )
    # A learning rate of nothing leaves what training started from.
    start = [f"train.start_from={first / 'model-1'}", "train.lr=1e-30", "train.min_lr=0"]
    recipe = load_recipe(
        "cascade-clip/picturebook/transductive", [*tiny_overrides, *start, "train.steps=1"]
    )
    train(recipe, second, quiet=True)
    kept = load_bundle(first / "model-1").network.adapter_state_dict()
    after = load_bundle(second).network.adapter_state_dict()
    for name, value in kept.items():
        torch.testing.assert_close(after[name], value)


def test_a_step_beyond_the_end_is_told() -> None:
    recipe = load_recipe("cascade-clip/voc20/inductive", ["train.steps=5000"])
    (finding,) = check_reached(recipe.train)
    assert finding.outcome == "note"
    assert "10000" in finding.detail
    assert "train.keep_model_at=[2500]" in finding.detail
    assert check_reached(load_recipe("cascade-clip/voc20/inductive").train) == []
