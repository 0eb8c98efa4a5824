"""Recipes: deltas on deltas, overrides, and errors that name the nearest valid key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from cascade_clip.config import Recipe
from cascade_clip.config.components import RECIPE_FOLDER, recipe_in_words, recipe_names
from cascade_clip.config.published import Published, published_results
from cascade_clip.config.recipes import (
    dump_recipe,
    flatten,
    load_recipe,
    parse_recipe,
    setting_keys,
)
from cascade_clip.config.training_free import ResclipSettings
from cascade_clip.data.class_lists import load_class_list
from cascade_clip.errors import UserError


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_survives_being_written(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.summary
    written = tmp_path / "other.yaml"
    written.write_text(yaml.safe_dump(dump_recipe(recipe)))
    assert load_recipe(written) == recipe


def test_variants_differ_from_their_base_only_where_they_say() -> None:
    base = load_recipe("cascade-clip/picturebook/inductive")
    single = load_recipe("zegclip/picturebook/inductive")
    assert single.model.head.stages == ((12,),)
    assert single.data == base.data
    assert single.train == base.train
    assert single.model.encoder == base.model.encoder
    fusion = load_recipe("fusion/picturebook/inductive")
    assert fusion.model.head.stages == ((6, 7, 8, 9, 10, 11, 12),)
    assert fusion.model.head.aggregation == "self-attention"  # as in the paper's Table 1


def test_overrides_are_yaml_and_come_last() -> None:
    overrides = [
        "train.lr=5e-4",
        "model.head.stages=[[11], [12]]",
        "train.steps=3",
        "train.steps=4",
    ]
    recipe = load_recipe("cascade-clip/picturebook/inductive", overrides)
    assert recipe.train.lr == 5e-4
    assert recipe.model.head.stages == ((11,), (12,))
    assert recipe.train.steps == 4


def test_another_kind_of_head_takes_over_what_both_have() -> None:
    base = load_recipe("cascade-clip/picturebook/inductive", ["model.head.sigma=1.5"]).model.head
    overrides = ["model.head.decoder_layers=2", "model.head.kind=spectral", "model.head.sigma=1.5"]
    head = load_recipe("cascade-clip/picturebook/inductive", overrides).model.head
    assert base.decoder_start == "identity" and not hasattr(head, "decoder_start")
    assert (head.kind, head.decoder_layers, head.sigma) == ("spectral", 2, base.sigma)
    assert head.stages == base.stages
    for override in ("model.head.decoder_start=identity", "model.head.decoder_start=released"):
        with pytest.raises(UserError, match=r"decoder_start is no setting of kind 'spectral'"):
            load_recipe(
                "cascade-clip/picturebook/inductive", [override, "model.head.kind=spectral"]
            )


def test_own_recipe_files_may_stand_on_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "base: cascade-clip/picturebook/inductive\ntrain: {steps: 9, lr: 0.5}\n"
    )
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
        ("train.steps=0", r"train\.steps: .*more than 0, got 0"),
        ("train.lr=fast", r"train\.lr: .*number"),
        ("train.setting=induktive", r"train\.setting: .*'inductive'"),
        ("model.head.stages=[[12", "not valid YAML"),
        ("model.head.stages=[[6, 6]]", r"model\.head: blocks within a stage must ascend"),
        ("inference.stride=500", "larger than crop"),
        ("data.name=voc", r"data\.name: .*'voc20', 'context59'.*, got 'voc'"),
        ("data.root=here", "the picture book is drawn"),
        ("train.accumulate=3", "divisible by accumulate x devices"),
        ("data.picturebook.seed=10000", "less than 10000"),
    ],
)
def test_bad_overrides(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_recipe("cascade-clip/picturebook/inductive", [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("cascade-clp/voc2/indctive", "cascade-clip/voc20/inductive"),
        ("zegclip/coco-stff", "zegclip/coco-stuff"),
        ("voc20-inductive", "cascade-clip/voc20/inductive"),
        ("voc20-improved", "improved/voc20/inductive"),
        ("zegclip-context59-released-transductive", "zegclip/context59-released/transductive"),
        ("picturebok-fusion", "fusion/picturebook/inductive"),
        ("coco-stuff", "cascade-clip/coco-stuff/inductive"),
    ],
)
def test_unknown_recipe_names_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UserError, match=f"did you mean '{meant}'") as caught:
        load_recipe(typed)
    assert "\n" not in str(caught.value)


def test_recipes_in_other_words() -> None:
    assert recipe_in_words("frozen-voc20") == "frozen/voc20/inductive"
    assert recipe_in_words("voc20-transductive") == "cascade-clip/voc20/transductive"
    assert recipe_in_words("cascade-clip/picturebook") == "cascade-clip/picturebook/inductive"
    assert recipe_in_words("voc2-inductive") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("improved/picturebook/inductive", "'improved' goes with voc20, context59, coco-stuff"),
        ("cascade-clip/context59-released/full", "goes with inductive, transductive alone"),
    ],
)
def test_parts_that_make_no_recipe_together(name: str, message: str) -> None:
    assert name not in recipe_names()
    with pytest.raises(UserError, match=message):
        load_recipe(name)


def test_without_a_setting_training_is_inductive() -> None:
    assert load_recipe("zegclip/voc20") == load_recipe("zegclip/voc20/inductive")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        (
            "released/picturebook/inductive",
            {
                "model.clip.model": "picturebook",
                "model.encoder.class_embedding_twice": True,
                "model.encoder.level_projection": "random-frozen",
                "model.encoder.stored_grid": None,
                "model.head.decoder_start": "released",
                "data.normalise": "imagenet",
                "inference.seen_score_offset": 0.1,
            },
        ),
        (
            "cascade-clip/picturebook/transductive",
            {
                "model.encoder.class_embedding_twice": False,
                "model.head.decoder_start": "identity",
                "data.normalise": "clip",
                "train.steps": 300,
                "train.batch_size": 4,
                "inference.seen_score_offset": 0.0,
            },
        ),
        (
            "improved/context59-released/inductive",
            {
                "model.encoder.stored_grid": None,
                "model.encoder.prompts": 35,
                "model.encoder.level_projection": "value-path",
                "data.normalise": "clip",
                "data.split": "released",
                "inference.seen_score_offset": 0.0,
            },
        ),
        (
            "spt-cascade/coco-stuff/inductive",
            {
                "model.encoder.tuning": "spectral-prompts",
                "model.encoder.prompts": 50,
                "model.head.kind": "spectral",
                "model.head.aggregation": "nga",
                "loss.dice_weight": 0.0,
                "loss.ssim_weight": 1.0,
            },
        ),
        (
            "clip-rc/voc20/inductive",
            {
                "model.encoder.regions": 4,
                "model.encoder.prompts": 10,
                "model.head.kind": "clip-rc",
                "model.head.stages": [[12]],
                "model.head.recovery_weight": 2.0,
                "loss.focal_weight": 100.0,
                "loss.dice_weight": 1.0,
                "train.steps": 40_000,
                "train.keep_model_at": [20_000],
                "data.templates": "single",
            },
        ),
        (
            "clip-rc/voc20/transductive",
            {"train.steps": 20_000, "model.head.recovery_weight": 2.0},
        ),
        ("clip-rc/voc20/full", {"train.steps": 40_000, "model.head.recovery_weight": 0.0}),
        (
            "clip-rc-cascade/coco-stuff/transductive",
            {
                "model.encoder.prompts": 100,
                "model.head.stages": [[6, 7, 8], [9, 10, 11], [12]],
                "model.head.recovery_weight": 50.0,
                "loss.focal_weight": 200.0,
                "loss.dice_weight": 3.0,
                "train.steps": 40_000,
                "data.templates": "many",
            },
        ),
        (
            "clip-rc/coco-stuff/full",
            {
                "model.head.recovery_weight": 1.0,
                "loss.focal_weight": 100.0,
                "loss.dice_weight": 1.5,
                "train.steps": 80_000,
            },
        ),
        (
            "frozen/coco-stuff/inductive",
            {
                "model.encoder.tuning": "frozen",
                "model.encoder.prompts": 0,
                "model.head.aggregation": "last",
                "inference.seen_score_offset": 0.1,
            },
        ),
    ],
)
def test_other_settings_that_matter(name: str, settings: dict[str, object]) -> None:
    flat = flatten(dump_recipe(load_recipe(name)))
    assert {key: flat[key] for key in settings} == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {stepps: 3}", r"did you mean 'train\.steps'"),
        ("trian: {steps: 3}", "unknown setting 'trian"),
        ("- a list", "must hold `key: value`"),
        ("a: [", "can't be read"),
        ("name: 2001-99-99", "month must be in 1..12; put text that looks like a date"),
        ("train: {steps: " + "9" * 5000 + "}", "can't be read: not valid YAML"),
        ("train: {steps: 0x" + "f" * 5000 + "}", "got a number of 20,000 bits"),
        ("a: " + "[" * 3000, "nested too deep"),
        ("a: !!timestamp x", "can't be read: not valid YAML"),
        ("model: {encoder: {prompts: 1000000000}}", "prompts: expected at most 1000, got"),
        ("train: {batch_size: 1000000000}", "batch_size: expected at most 65536, got"),
        ("inference: {crop: 1000000}", "crop: expected at most 16384, got"),
        ("name: &a [*a]", r"name: expected text, got \[\["),
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


def test_recipes_based_on_each_other_under_other_names(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: sub/../b.yaml")
    (tmp_path / "b.yaml").write_text("base: ./sub/link.yaml")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/link.yaml").symlink_to(tmp_path / "a.yaml")
    with pytest.raises(UserError, match="based on itself"):
        load_recipe(tmp_path / "a.yaml")


def test_missing_recipe_file() -> None:
    with pytest.raises(UserError, match="no recipe file"):
        load_recipe("nowhere/mine.yaml")


def test_all_keys_are_leaves_of_the_schema() -> None:
    keys = list(setting_keys())
    assert len(keys) == len(set(keys))
    assert {"name", "model.head.stages", "data.picturebook.size", "inference.crop"} <= set(keys)
    assert not {"model", "model.head", "data"} & set(keys)


@pytest.mark.parametrize("tuning", ["frozen", "full"])
def test_variants_without_prompts_need_not_say_so(tuning: str) -> None:
    recipe = parse_recipe({"name": "x", "model": {"encoder": {"tuning": tuning}}})
    assert recipe.model.encoder.prompts == 0
    assert Recipe.model_validate(dump_recipe(recipe)) == recipe


DATA_SETS = {  # steps, templates, prompts of Cascade-CLIP and ZegCLIP, classes, unseen ones
    "voc20": (20_000, "single", 10, 10, 20, 5),
    "context59": (40_000, "many", 35, 10, 59, 10),
    "coco-stuff": (80_000, "many", 50, 100, 171, 15),
}
METHODS = {"cascade-clip": ((6, 7, 8), (9, 10, 11), (12,)), "zegclip": ((12,),)}
PUBLISHED_RECIPES = [
    (method, data, release, setting)
    for method in METHODS
    for data in DATA_SETS
    for release in (("", "-released") if data == "context59" else ("",))
    for setting in ("inductive", "transductive", "full")
    if not (release and setting == "full")  # without unseen classes there is no split
]


@pytest.mark.parametrize(("method", "data", "release", "setting"), PUBLISHED_RECIPES)
def test_published_settings(method: str, data: str, release: str, setting: str) -> None:
    recipe = load_recipe(f"{method}/{data}{release}/{setting}")
    cascade = method == "cascade-clip"
    steps, templates, cascade_prompts, zegclip_prompts, classes, unseen = DATA_SETS[data]
    half = steps // 2

    encoder, head = recipe.model.encoder, recipe.model.head
    clip = recipe.model.clip
    assert (clip.model, clip.pretrained) == ("ViT-B-16-quickgelu", "openai")
    assert (encoder.tuning, encoder.prompts) == (
        "deep-prompts",
        cascade_prompts if cascade else zegclip_prompts,
    )
    assert (encoder.class_embedding_twice, encoder.stored_grid) == (True, 32)
    assert (encoder.level_projection, encoder.prompt_dropout) == ("random-frozen", 0.1)
    assert (head.stages, head.aggregation) == (METHODS[method], "nga" if cascade else "last")
    assert (head.sigma, head.shared_queries, head.relationship_descriptor) == (1.0, False, True)
    assert (head.kind, head.decoder_start) == ("cross-attention", "released")
    assert (head.decoder_layers, head.decoder_heads, head.decoder_dropout) == (3, 8, 0.1)

    assert recipe.data.name == data
    assert recipe.data.split == ("released" if release else "standard")
    assert (recipe.data.templates, recipe.data.synonyms) == (templates, False)
    inference = recipe.inference
    assert (inference.crop, inference.stride, inference.short_side) == (512, 426, 512)
    assert (inference.shifts, recipe.data.normalise) == (1, "imagenet")
    listed = load_class_list(data).class_set(recipe.data.split)
    assert (len(listed.names), len(listed.unseen)) == (classes, unseen)

    train = recipe.train
    assert train.setting == setting
    assert train.steps == (half if setting == "transductive" else steps)
    assert train.keep_model_at == ((half,) if setting == "inductive" else ())
    eight_per_gpu = (cascade, data, setting) == (True, "voc20", "transductive")
    assert train.batch_size == (4 * 8 if eight_per_gpu else 4 * 4)
    assert (train.lr, train.min_lr, train.power, train.weight_decay) == (2e-4, 1e-6, 0.9, 0.01)
    assert (train.warmup_steps, train.warmup_ratio, train.precision) == (1500, 1e-6, "fp32")
    assert (recipe.loss.focal_weight, recipe.loss.dice_weight) == (100.0, 1.0)
    assert inference.seen_score_offset == (0.1 if setting == "inductive" else 0.0)


PUBLISHED_RESULTS = {  # S, U, h; None: nobody reports it
    "cascade-clip/voc20/inductive": (92.7, 83.1, 87.7),
    "cascade-clip/voc20/transductive": (93.3, 93.4, 93.4),
    "cascade-clip/voc20/full": (93.7, 94.6, None),
    "cascade-clip/coco-stuff/inductive": (41.1, 43.4, 42.2),
    "cascade-clip/coco-stuff/transductive": (41.7, 62.5, 50.0),
    "cascade-clip/coco-stuff/full": (41.5, 64.0, None),
    "cascade-clip/context59/inductive": None,
    "cascade-clip/context59/transductive": None,
    "cascade-clip/context59/full": None,
    "cascade-clip/context59-released/inductive": (55.9, 47.2, 51.2),
    "cascade-clip/context59-released/transductive": (56.4, 55.0, 55.7),
    "zegclip/voc20/inductive": (91.9, 77.8, 84.3),
    "zegclip/voc20/transductive": (92.3, 89.9, 91.1),
    "zegclip/voc20/full": (92.4, 90.9, None),
    "zegclip/coco-stuff/inductive": (40.2, 41.4, 40.8),
    "zegclip/coco-stuff/transductive": (40.7, 59.9, 48.5),
    "zegclip/coco-stuff/full": (40.7, 63.2, None),
    "zegclip/context59/inductive": (46.0, 54.6, 49.9),
    "zegclip/context59/transductive": (46.8, 68.5, 55.6),
    "zegclip/context59/full": None,
    "zegclip/context59-released/inductive": (53.8, 45.5, 49.3),
    "zegclip/context59-released/transductive": (54.5, 41.4, 47.1),
}


def test_every_published_recipe_is_there() -> None:
    named = {f"{method}/{data}{release}/{s}" for method, data, release, s in PUBLISHED_RECIPES}
    assert named == set(PUBLISHED_RESULTS)
    assert named <= set(recipe_names())


@pytest.mark.parametrize(("name", "reported"), PUBLISHED_RESULTS.items())
def test_published_results(name: str, reported: tuple[float, float, float | None] | None) -> None:
    published = published_results().get(name)
    if reported is None:
        assert published is None
        return
    assert published is not None and published.miou is None
    assert (published.seen, published.unseen) == reported[:2]
    if reported[2] is not None:
        assert published.hiou == pytest.approx(reported[2], abs=0.1)  # from rounded S and U
    assert published.source


def test_published_figures_are_those_of_recipes() -> None:
    assert published_results().keys() <= set(recipe_names())
    with pytest.raises(ValueError, match="seen and unseen, or miou alone"):
        Published(seen=90.0, source="me")
    assert Published(miou=40.0, source="me").hiou is None


def test_parts_are_short() -> None:
    for path in RECIPE_FOLDER.glob("*/*.yaml"):
        assert path.read_text().count("\n") <= 35, path


def test_the_page_on_reproducing_says_what_the_recipes_hold() -> None:
    page = Path(__file__).parents[2] / "docs" / "reproducing.md"
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `") and line.count("|") == 8
    ]
    assert {row[0].strip("`") for row in rows} == set(PUBLISHED_RESULTS)
    for name, prompts, steps, start, published, *_ in rows:
        recipe = load_recipe(name.strip("`"))
        assert int(prompts) == recipe.model.encoder.prompts
        assert int(steps.replace(",", "")) == recipe.train.steps
        transductive = recipe.train.setting == "transductive"
        assert start.strip("`") == (f"model-{recipe.train.steps}" if transductive else "CLIP")
        figures = [float(figure) for figure in published.split("/") if figure.strip()]
        reported = published_results().get(name.strip("`"))
        assert figures[:2] == ([reported.seen, reported.unseen] if reported else [])
        if len(figures) == 3:
            assert reported is not None
            assert reported.hiou == pytest.approx(figures[2], abs=0.1)


def test_recipes_on_the_page_on_own_data_load(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "own-data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^base: .*?(?=^(?:```|YAML))", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        (tmp_path / "mine.yaml").write_text(block)
        recipe = load_recipe(tmp_path / "mine.yaml")
        assert recipe.data.name == "folder"
        assert recipe.data.root in (Path("my-data"), Path("drawn"))


def test_nested_settings_have_dotted_names() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sc-clip/voc21", (336, 224, 112, 50.0, 0.15, 0.1)),
        ("sc-clip/coco-object", (336, 224, 112, 55.0, 0.35, 0.0)),
        ("sc-clip/cityscapes", (560, 224, 112, 40.0, 0.0, 0.0)),
        ("sclip/voc21", (336, 224, 112, 65.0, 0.1, 0.1)),
        ("sclip/coco-stuff", (448, 224, 112, 40.0, 0.0, 0.0)),
        ("naclip/voc21", (336, 2048, 2048, 40.0, 0.1, 0.0)),
        ("naclip/ade20k", (336, 224, 112, 40.0, 0.0, 0.0)),
        ("clearclip/voc21", (448, 448, 224, 50.0, 0.5, 0.0)),
        ("clearclip/cityscapes", (448, 224, 224, 50.0, 0.0, 0.0)),
        ("gem/context60", (448, 448, 224, 50.0, 0.15, 0.0)),
    ],
)
def test_protocols_of_methods_without_training(name: str, expected: tuple[float, ...]) -> None:
    recipe = load_recipe(name)
    own = recipe.inference
    assert (
        own.short_side, own.crop, own.stride, own.logit_scale, own.threshold, own.min_area,
    ) == expected  # fmt: skip
    assert (own.scores, own.long_side, own.seen_score_offset) == ("softmax", 2048, 0.0)
    assert (recipe.data.normalise, recipe.data.templates) == ("clip", "imagenet")
    assert recipe.data.names == ("clearclip" if name.startswith(("clear", "gem")) else "sclip")
    assert own.refine == ("pamr" if name.startswith("naclip") else None)


def test_resclips_weights_by_data_set() -> None:
    weights = {}
    for data in ("voc20", "voc21", "context59", "cityscapes"):
        settings = load_recipe(f"resclip/{data}").model.training_free
        assert isinstance(settings, ResclipSettings)
        weights[data] = settings.correlation_weight
    assert weights == {"voc20": 0.6, "voc21": 0.3, "context59": 0.4, "cityscapes": 0.2}
