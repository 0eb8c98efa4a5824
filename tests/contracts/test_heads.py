"""What every head promises, whatever its kind: the kinds are those of the union of settings.

A new one is found by itself. It needs a naive twin, a recipe and a row in docs/low-level-api.md;
docs/adding-a-method.md writes one.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cascade_clip.checkpoint.folder import Bundle, load_bundle
from cascade_clip.checkpoint.save import save_model
from cascade_clip.clip.load import load_clip
from cascade_clip.clip.templates import TEMPLATES
from cascade_clip.config.components import recipe_names
from cascade_clip.config.heads import head_kinds
from cascade_clip.config.recipes import load_recipe, parse_recipe
from cascade_clip.data.classes import ClassSet
from cascade_clip.errors import UserError
from cascade_clip.export.network import open_exported
from cascade_clip.export.request import SUFFIXES, Format
from cascade_clip.export.write import export_model
from cascade_clip.model.network import SegmentationNetwork
from cascade_clip.training.module import TrainingModule
from tests.conftest import TINY_CLIP
from tests.naive.network import NaiveSizes, naive_forward

KINDS = sorted(head_kinds())
CLASSES = ClassSet(("cat", "house", "grass", "sky", "boat"), ("boat",))
PATCH, WIDTH = TINY_CLIP["vision_cfg"]["patch_size"], TINY_CLIP["embed_dim"]
GRIDS = ((4, 4), (3, 5), (1, 7), (6, 1))


@cache
def encoder_of(kind: str) -> dict[str, Any]:
    """How a recipe of this kind tunes the encoder on the picture book, with fewer prompts."""
    recipes = (load_recipe(name) for name in recipe_names() if "/picturebook/" in name)
    models = (recipe.model for recipe in recipes)
    return next(model.encoder for model in models if model.head.kind == kind).model_dump() | {
        "prompts": 2
    }


def untrained(kind: str, clip_folder: Path, stages: list[list[int]]) -> Bundle:
    """A model with the defaults of a kind, as training begins with it."""
    recipe = parse_recipe(
        {
            "name": "contract",
            "model": {
                "clip": {"model": f"local-dir:{clip_folder}"},
                "encoder": encoder_of(kind),
                "head": {"kind": kind, "stages": stages},
            },
            "data": {"picturebook": {"size": 32}},
            "inference": {"crop": 32, "stride": 32, "short_side": 32},
        }
    )
    clip = load_clip(recipe.model.clip)
    torch.manual_seed(1)
    network = SegmentationNetwork(clip.visual, recipe.model).eval()
    return Bundle(network, clip, recipe, CLASSES, TEMPLATES[recipe.data.templates])


@torch.no_grad()
def trained(bundle: Bundle) -> Bundle:
    """Its weights are all moved away from where they start, so that none goes unnoticed."""
    for parameter in bundle.network.trained_parameters().values():
        parameter += 0.05 * torch.randn_like(parameter)
    return bundle


@pytest.fixture(params=KINDS)
def fresh(request: pytest.FixtureRequest, clip_of_3_blocks: Path) -> Bundle:
    return untrained(request.param, clip_of_3_blocks, [[1, 2], [3]])


@pytest.fixture
def bundle(fresh: Bundle) -> Bundle:
    return trained(fresh)


@pytest.fixture
def network(bundle: Bundle) -> SegmentationNetwork:
    return bundle.network


def images(grid: tuple[int, int] = (3, 5), batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(batch, 3, grid[0] * PATCH, grid[1] * PATCH, generator=generator)


def text(*shape: int) -> Tensor:
    """Unit embeddings (*shape, d)."""
    generator = torch.Generator().manual_seed(3)
    return F.normalize(torch.randn(*shape, WIDTH, generator=generator), dim=-1)


def close(actual: Tensor, expected: Tensor) -> None:
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(actual, expected, atol=1e-5 * scale, rtol=1e-4)


@torch.no_grad()
def logits(network: SegmentationNetwork, text: Tensor) -> Tensor:
    return network(images(), text).mask_logits


@pytest.mark.parametrize("grid", GRIDS)
def test_a_map_per_class_on_any_grid(network: SegmentationNetwork, grid: tuple[int, int]) -> None:
    with torch.no_grad():
        output = network(images(grid), text(5))
    assert output.mask_logits.shape == (2, 5, *grid)
    assert output.mask_logits.isfinite().all()
    assert len(output.stage_logits) == len(network.settings.head.stages_read)
    close(sum(output.stage_logits), output.mask_logits)


def test_equals_its_naive_twin(network: SegmentationNetwork) -> None:
    vision = TINY_CLIP["vision_cfg"]
    grid = tuple(network.encoder.visual.grid_size)
    sizes = NaiveSizes(vision["width"] // vision["head_width"], grid, quick_gelu=False)
    with torch.no_grad():
        twin = naive_forward(network.state_dict(), network.settings, sizes, images(), text(3))
    close(logits(network, text(3)), twin.mask_logits)


def test_the_loss_reaches_every_trained_parameter_and_no_other(fresh: Bundle) -> None:
    module = TrainingModule(
        fresh.network.train(), fresh.recipe, CLASSES, text(5), fresh.normalisation
    )
    labels = torch.randint(0, 5, (2, 3 * PATCH, 5 * PATCH))
    terms = module.loss_terms(*module.predict_for_loss(images(), labels))
    assert all(term.ndim == 0 and term.isfinite() for term in terms.values())
    sum(terms.values()).backward()
    moved = {
        name
        for name, parameter in fresh.network.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }
    assert moved == fresh.network.trained_parameters().keys()
    assert any(name.startswith("head.") for name in moved)


def test_compiles_to_a_single_graph(network: SegmentationNetwork) -> None:
    for module in network.modules():
        if hasattr(module, "rounds"):
            module.rounds = 5  # how many are needed depends on the numbers
    torch.compiler.reset()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    close(logits(compiled, text(5)), logits(network, text(5)))


def test_the_order_of_the_classes_is_that_of_the_text(network: SegmentationNetwork) -> None:
    order = torch.tensor([3, 0, 4, 1, 2])
    close(logits(network, text(5)[order]), logits(network, text(5))[:, order])


def test_classes_interact_only_where_the_network_says_so(network: SegmentationNetwork) -> None:
    fewer, all_of_them = logits(network, text(5)[:3]), logits(network, text(5))[:, :3]
    if network.classes_interact:
        assert (fewer - all_of_them).abs().max() > 1e-4
    else:
        close(fewer, all_of_them)


def test_one_prompt_a_class_may_be_said_in_two_ways(network: SegmentationNetwork) -> None:
    assert torch.equal(logits(network, text(5)), logits(network, text(5)[:, None]))


def test_several_prompts_a_class_are_used_or_refused(network: SegmentationNetwork) -> None:
    prompts = text(5, 3)
    try:
        several = logits(network, prompts)
    except UserError as error:
        assert "one text embedding a class, got 3" in str(error)
        return
    assert several.shape == (2, 5, 3, 5)
    for k in range(3):
        without = torch.cat([prompts[:, :k], prompts[:, k + 1 :]], dim=1)
        assert (several - logits(network, without)).abs().max() > 1e-4  # each counts


def test_a_saved_model_comes_back(bundle: Bundle, tmp_path: Path) -> None:
    save_model(tmp_path / "model", bundle.network, bundle.recipe, CLASSES, bundle.clip)
    loaded = load_bundle(tmp_path / "model")
    assert loaded.recipe == bundle.recipe
    assert torch.equal(logits(loaded.network, text(5)), logits(bundle.network, text(5)))


@pytest.mark.parametrize("format", ["torch-export", pytest.param("onnx", marks=pytest.mark.proof)])
@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_file_computes_the_same(
    kind: str, format: Format, clip_of_3_blocks: Path, tmp_path: Path
) -> None:
    bundle = trained(untrained(kind, clip_of_3_blocks, [[2, 3]]))
    file = tmp_path / f"model{SUFFIXES[format]}"
    found = export_model(bundle, file, format=format)
    assert found.labels > 0.999 and found.logits < 1e-4
    assert len({size[1:] for size in found.sizes}) > 2 and {size[0] for size in found.sizes} > {1}
    exported = open_exported(file, torch.device("cpu"))
    for grid, classes in (((5, 9), 3), ((1, 1), 1), ((7, 1), 5)):
        with torch.inference_mode():
            expected = bundle.network(images(grid), text(classes)).mask_logits
        torch.testing.assert_close(
            exported(images(grid), text(classes)).mask_logits, expected, rtol=1e-4, atol=1e-4
        )


def test_parts_of_low_precision_belong_to_the_head(network: SegmentationNetwork) -> None:
    own = list(network.head.modules())
    assert all(any(part is module for module in own) for part in network.head.low_precision_parts())


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_recipe_and_a_row_in_the_documentation(kind: str) -> None:
    assert any(load_recipe(name).model.head.kind == kind for name in recipe_names())
    page = Path(__file__).parents[2] / "docs" / "low-level-api.md"
    assert f"\n| `{kind}` |" in page.read_text(encoding="utf-8")
