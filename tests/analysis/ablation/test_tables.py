from __future__ import annotations

import pytest

from cascade_clip.analysis.ablation.tables import TABLES, read_tables
from cascade_clip.config.recipes import dump_recipe, load_recipe
from cascade_clip.errors import UserError


def resolved(*settings: str) -> dict[str, object]:
    return dump_recipe(load_recipe("cascade-clip/picturebook/inductive", settings))


@pytest.mark.parametrize("name", TABLES)
def test_every_variant_is_a_valid_recipe_and_no_two_of_a_table_are_the_same(name: str) -> None:
    recipes = [resolved(*variant.settings) for variant in TABLES[name].variants]
    assert all(recipes.count(recipe) == 1 for recipe in recipes)


def test_the_improved_settings_are_those_of_the_recipe() -> None:
    assert resolved(*TABLES["improved"].variants[-1].settings) == resolved()


def test_cascade_clip_is_one_and_the_same_run_in_all_tables() -> None:
    cascade = {
        "methods": 3, "stages": 2, "blocks-per-stage": 1, "aggregation": 5, "queries": 1,
        "prompts": 1, "sigma": 1, "focal-weight": 2, "projection": 4, "improved": 7, "family": 1,
    }  # fmt: skip
    assert cascade.keys() == TABLES.keys()
    for name, index in cascade.items():
        assert resolved(*TABLES[name].variants[index].settings) == resolved(), name


def test_the_family_is_that_of_the_recipes() -> None:
    recipes = (
        "zegclip", "cascade-clip", "otseg-plus", "otseg-cascade", "clip-rc", "clip-rc-cascade",
        "rpn", "rpn-cascade",
    )  # fmt: skip
    for variant, name in zip(TABLES["family"].variants, recipes, strict=True):
        found, expected = (
            resolved(*variant.settings),
            dump_recipe(load_recipe(f"{name}/picturebook")),
        )
        assert {**found, "name": "", "summary": ""} == {**expected, "name": "", "summary": ""}, name


def test_published_figures_come_with_what_they_were_measured_on() -> None:
    for table in TABLES.values():
        figures = [variant.published for variant in table.variants]
        assert bool(table.published_on) == any(figure is not None for figure in figures)


def test_reading_names() -> None:
    assert read_tables(["all"]) == list(TABLES.values())
    assert [table.name for table in read_tables(["sigma", "sigma", "stages"])] == [
        "sigma",
        "stages",
    ]
    with pytest.raises(UserError, match=r"unknown ablation 'sigmas'.*aggregation"):
        read_tables(["sigmas"])
    with pytest.raises(UserError, match=r"no ablation is named; there are methods"):
        read_tables([])
