"""Recipes: deltas on deltas, overrides, and errors that name the nearest valid key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cascade_clip.config import Recipe
from cascade_clip.errors import UserError
from cascade_clip.recipes import dump_recipe, load_recipe, parse_recipe, recipe_names, setting_keys


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_survives_being_written(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.summary
    written = tmp_path / "other.yaml"
    written.write_text(yaml.safe_dump(dump_recipe(recipe)))
    assert load_recipe(written) == recipe


def test_variants_differ_from_their_base_only_where_they_say() -> None:
    base, single = load_recipe("picturebook-inductive"), load_recipe("picturebook-single")
    assert single.model.head.stages == ((12,),)
    assert single.data == base.data
    assert single.train == base.train
    assert single.model.encoder == base.model.encoder
    assert load_recipe("picturebook-fusion").model.head.stages == ((6, 7, 8, 9, 10, 11, 12),)


def test_overrides_are_yaml_and_come_last() -> None:
    overrides = [
        "train.lr=5e-4",
        "model.head.stages=[[11], [12]]",
        "train.steps=3",
        "train.steps=4",
    ]
    recipe = load_recipe("picturebook-inductive", overrides)
    assert recipe.train.lr == 5e-4
    assert recipe.model.head.stages == ((11,), (12,))
    assert recipe.train.steps == 4


def test_own_recipe_files_may_stand_on_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: picturebook-inductive\ntrain: {steps: 9, lr: 0.5}\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\nsummary: mine\ntrain: {lr: 0.25}\n")
    recipe = load_recipe(tmp_path / "b.yaml")
    assert (recipe.name, recipe.summary, recipe.train.steps, recipe.train.lr) == (
        "b",
        "mine",
        9,
        0.25,
    )
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    with pytest.raises(UserError, match="based on itself"):
        load_recipe(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.step=1", r"unknown setting 'train\.step'; did you mean 'train\.steps'\?"),
        ("learning_rat=1", "did you mean"),
        ("model.head.sigmas=1", r"did you mean 'model\.head\.sigma'"),
        ("stages=[[12]]", r"did you mean 'model\.head\.stages'"),
        ("train=1", "unknown setting 'train'"),
        ("train.steps", "write key=value"),
        ("=3", "write key=value"),
        ("train.steps=0", r"train\.steps: .*greater than 0, got 0"),
        ("train.lr=fast", r"train\.lr: .*number"),
        ("train.setting=induktive", r"train\.setting: .*'inductive'"),
        ("model.head.stages=[[12", "not valid YAML"),
        ("model.head.stages=[[6, 6]]", r"model\.head: blocks within a stage must ascend"),
        ("data.stride=500", "larger than crop"),
        ("train.accumulate=3", "divisible by accumulate x devices"),
        ("data.picturebook.seed=10000", "less than 10000"),
    ],
)
def test_bad_overrides(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_recipe("picturebook-inductive", [override])
    assert "\n" not in str(caught.value)


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'picturebook-fusion'"):
        load_recipe("picturebok-fusion")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {stepps: 3}", r"did you mean 'train\.steps'"),
        ("trian: {steps: 3}", "unknown setting 'trian"),
        ("- a list", "must hold `key: value`"),
        ("a: [", "can't be read"),
        ("base: no-such-recipe", "unknown recipe"),
        ("base: gone.yaml", "no recipe file"),
        ("train: 3", "train: "),
    ],
)
def test_bad_recipe_files(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_recipe(path)


def test_missing_recipe_file() -> None:
    with pytest.raises(UserError, match="no recipe file"):
        load_recipe("nowhere/mine.yaml")


def test_all_keys_are_leaves_of_the_schema() -> None:
    keys = list(setting_keys())
    assert len(keys) == len(set(keys))
    assert {"name", "model.head.stages", "data.picturebook.size", "seen_score_offset"} <= set(keys)
    assert not {"model", "model.head", "data"} & set(keys)


@pytest.mark.parametrize("tuning", ["frozen", "full"])
def test_variants_without_prompts_need_not_say_so(tuning: str) -> None:
    recipe = parse_recipe({"name": "x", "model": {"encoder": {"tuning": tuning}}})
    assert recipe.model.encoder.prompts == 0
    assert Recipe.model_validate(dump_recipe(recipe)) == recipe
