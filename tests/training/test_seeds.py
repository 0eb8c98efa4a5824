"""Several seeds of one recipe: runs of their own, one summary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cascade_clip.config import Recipe
from cascade_clip.config.recipes import load_recipe
from cascade_clip.data.factory import open_dataset
from cascade_clip.errors import UserError
from cascade_clip.evaluation.share import Share
from cascade_clip.training.seeds import summarise, train_seeds


@pytest.fixture
def recipe(tiny_overrides: list[str]) -> Recipe:
    settings = ["train.steps=2", "train.seed=4", "train.sanity=false"]
    return load_recipe("cascade-clip/picturebook/inductive", [*tiny_overrides, *settings])


def test_each_seed_is_a_run_and_a_resumed_series_keeps_what_is_finished(
    recipe: Recipe, tmp_path: Path
) -> None:
    first = train_seeds(recipe, tmp_path, 1, quiet=True)
    assert first.spread["miou"] is None
    kept = (tmp_path / "seed-4" / "model" / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(UserError, match="seed-4 holds a run already; go on with --resume"):
        train_seeds(recipe, tmp_path, 2, quiet=True)
    renamed = recipe.model_copy(update={"name": "of-another-file"})
    summary = train_seeds(renamed, tmp_path, 2, resume=True, quiet=True)
    assert (tmp_path / "seed-4" / "model" / "model.safetensors").stat().st_mtime_ns == kept
    assert summary.per_seed[4] == first.per_seed[4]
    assert summary.per_seed[5] != first.per_seed[4]
    written = json.loads((tmp_path / "seeds.json").read_text())
    assert written["seeds"] == {str(seed): result for seed, result in summary.per_seed.items()}
    assert written["mean"] == summary.mean
    assert load_recipe(tmp_path / "seed-5" / "recipe.yaml").train.seed == 5
    longer = recipe.model_copy(update={"train": recipe.train.model_copy(update={"steps": 3})})
    with pytest.raises(UserError, match=r"train\.steps=2, now it is 3"):
        train_seeds(longer, tmp_path, 2, resume=True, quiet=True)


def test_mean_and_sample_standard_deviation() -> None:
    names = ("pixel_accuracy", "miou", "miou_seen", "miou_unseen", "hiou")
    results = {
        seed: {**dict.fromkeys(names, value), "hiou": None if seed == 2 else value}
        for seed, value in enumerate((0.1, 0.2, 0.6))
    }
    summary = summarise(results)
    assert summary.mean["miou"] == pytest.approx(0.3)
    assert summary.spread["miou"] == pytest.approx((0.14 / 2) ** 0.5)  # (0.04 + 0.01 + 0.09) / 2
    assert (summary.mean["hiou"], summary.spread["hiou"]) == (None, None)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_shares_hold_every_picture_once(recipe: Recipe, world: int) -> None:
    dataset = open_dataset(recipe.data, "test", 5)
    shares = [Share(dataset, rank, world) for rank in range(world)]
    names = [share[index].name for share in shares for index in range(len(share))]
    assert sorted(names) == sorted(dataset[index].name for index in range(5))
